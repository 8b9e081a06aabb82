import { attribute, slice, subscript } from './access.ts';
import { check } from './checks.ts';
import { filter } from './filters.ts';
import { expectOpen } from './globals.ts';
import { changes, loopOf } from './loop.ts';
import { operate } from './operators.ts';
import { str } from './print.ts';
import type { Node } from './syntax.ts';
import {
  type Arguments,
  Attributes,
  Callable,
  Fault,
  Float,
  int,
  iterate,
  limited,
  key,
  numeric,
  truth,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from './values.ts';

/** Names that are set, and those around them. */
class Scope {
  readonly names = new Map<string, Value>();
  readonly #around: Scope | undefined;
  constructor(around?: Scope) {
    this.#around = around;
  }
  find(name: string): Value | undefined {
    return this.names.get(name) ?? (this.names.has(name) ? null : this.#around?.find(name));
  }
}

/** What was printed so far: a loop that is left keeps it. */
class Printed {
  text = '';
  add(text: string): void {
    this.text = limited(this.text + text);
  }
}

class Break extends Error {}
class Continue extends Error {}

/** What a template prints with these variables, in at most so many steps. Throws `Fault`, and what functions throw. */
export function evaluate(
  program: Node,
  variables: Readonly<Record<string, Value>>,
  mostSteps: number,
): string {
  const scope = new Scope();
  for (const [name, value] of Object.entries(variables)) scope.names.set(name, value);
  return new Evaluation(mostSteps).block(program.body as Node[], new Scope(scope));
}

const constants = new Map<string, Value>([
  ...(['true', 'True'] as const).map((name) => [name, true] as const),
  ...(['false', 'False'] as const).map((name) => [name, false] as const),
  ...(['none', 'None'] as const).map((name) => [name, null] as const),
]);

/** Globals of Jinja's that are not there: a template that asks for one would find it undefined. */
const absent = ['lipsum', 'cycler', 'joiner', 'self'];

class Evaluation {
  readonly #most: number;
  #done = 0;

  constructor(most: number) {
    this.#most = most;
  }

  #step(): void {
    if (++this.#done > this.#most) throw new Fault(`it goes on after ${this.#most} steps`);
  }

  block(nodes: readonly Node[], scope: Scope): string {
    const printed = new Printed();
    this.#print(nodes, scope, printed);
    return printed.text;
  }

  #print(nodes: readonly Node[], scope: Scope, into: Printed): void {
    for (const node of nodes) this.#statement(node, scope, into);
  }

  #statement(node: Node, scope: Scope, into: Printed): void {
    this.#step();
    switch (node.type) {
      case 'Comment':
        return;
      case 'If': {
        const { test, body, alternate } = node as unknown as Record<string, never>;
        return this.#print(truth(this.value(test, scope)) ? body : alternate, scope, into);
      }
      case 'For':
        return this.#loop(node, scope, into);
      case 'Set':
        return this.#set(node, scope);
      case 'Macro':
        scope.names.set(
          (node.name as { value: string }).value,
          this.#macro(
            (node.name as { value: string }).value,
            node.args as Node[],
            node.body as Node[],
            scope,
          ),
        );
        return;
      case 'Break':
        throw new Break('break outside of a loop');
      case 'Continue':
        throw new Continue('continue outside of a loop');
      case 'CallStatement':
        return into.add(str(this.#callBlock(node, scope)));
      case 'FilterStatement':
        return into.add(
          str(
            this.#filtered(
              this.block(node.body as Node[], new Scope(scope)),
              node.filter as Node,
              scope,
            ),
          ),
        );
      default:
        return into.add(str(this.value(node, scope)));
    }
  }

  #set({ assignee, value, body }: Node, scope: Scope): void {
    const made = value
      ? this.value(value as Node, scope)
      : this.block(body as Node[], new Scope(scope));
    this.#assign(assignee as Node, made, scope);
  }

  #assign(target: Node, value: Value, scope: Scope): void {
    if (target.type === 'Identifier') {
      const name = target.value as string;
      if (constants.has(name)) throw new Fault(`${name} is set`);
      scope.names.set(name, value);
    } else if (target.type === 'TupleLiteral') {
      const targets = target.value as Node[];
      const values = iterate(value);
      if (values.length !== targets.length)
        throw new Fault(`${values.length} values for ${targets.length} names`);
      targets.forEach((one, i) => this.#assign(one, values[i], scope));
    } else if (target.type === 'MemberExpression' && !target.computed) {
      const owner = this.value(target.object as Node, scope);
      if (!(owner instanceof Attributes && owner.settable))
        throw new Fault(`an attribute of a ${typeName(owner)} is set`);
      owner.fields.set(expectOpen((target.property as { value: string }).value), value);
    } else throw new Fault(`a ${target.type} is set`);
  }

  #loop({ loopvar, iterable, body, defaultBlock }: Node, scope: Scope, into: Printed): void {
    const chosen = iterable as Node;
    const [from, test] =
      chosen.type === 'SelectExpression'
        ? [chosen.lhs as Node, chosen.test as Node]
        : [chosen, undefined];
    const bound = (item: Value): Scope => {
      const own = new Scope(scope);
      this.#assign(loopvar as Node, item, own);
      return own;
    };
    const all = iterate(this.value(from, scope));
    const items = test ? all.filter((item) => truth(this.value(test, bound(item)))) : all;
    let went = false;
    const changed = changes();
    for (const [i, item] of items.entries()) {
      const own = bound(item);
      own.names.set('loop', loopOf(items, i, changed));
      try {
        this.#print(body as Node[], own, into);
        // As Jinja has it: a turn that is left early does not keep `else` from coming.
        went = true;
      } catch (error) {
        if (error instanceof Break) break;
        if (!(error instanceof Continue)) throw error;
      }
    }
    if (!went) this.#print(defaultBlock as Node[], new Scope(scope), into);
  }

  #macro(name: string, parameters: readonly Node[], body: readonly Node[], scope: Scope): Callable {
    const names = parameters.map(
      (one) => (one.type === 'Identifier' ? one.value : (one.key as Node).value) as string,
    );
    const uses = (special: string): boolean => !names.includes(special) && mentions(body, special);
    return new Callable(name, ({ positional, named }) => {
      const own = new Scope(scope);
      const left = new Map(named);
      const missing: [string, Node | undefined][] = [];
      names.forEach((parameter, i) => {
        if (i < positional.length) {
          if (left.has(parameter)) throw new Fault(`the macro ${name} gets ${parameter} twice`);
          own.names.set(parameter, positional[i]);
        } else if (left.has(parameter)) own.names.set(parameter, left.get(parameter)!);
        else
          missing.push([
            parameter,
            parameters[i].type === 'Identifier' ? undefined : (parameters[i].value as Node),
          ]);
        left.delete(parameter);
      });
      for (const [parameter] of missing)
        own.names.set(parameter, new Undefined(`the parameter ${parameter}`));
      for (const [parameter, value] of missing)
        if (value) own.names.set(parameter, this.value(value, own));
      if (uses('caller')) {
        own.names.set('caller', left.get('caller') ?? new Undefined('a caller'));
        left.delete('caller');
      }
      if (uses('kwargs')) own.names.set('kwargs', new Map(left));
      else if (left.size) throw new Fault(`the macro ${name} with ${[...left.keys()].join(', ')}`);
      const more = positional.slice(names.length);
      if (uses('varargs')) own.names.set('varargs', new Tuple(more));
      else if (more.length)
        throw new Fault(`the macro ${name} with ${positional.length} arguments`);
      return this.block(body, own);
    });
  }

  #callBlock({ call, callerArgs, body }: Node, scope: Scope): Value {
    const { callee, args } = call as { callee: Node; args: Node[] };
    const caller = this.#macro('caller', (callerArgs ?? []) as Node[], body as Node[], scope);
    const { positional, named } = this.#arguments(args, scope);
    return this.#call(this.value(callee, scope), {
      positional,
      named: new Map([...named, ['caller', caller]]),
    });
  }

  #call(callee: Value, args: Arguments): Value {
    if (callee instanceof Undefined) return callee.fail();
    if (!(callee instanceof Callable)) throw new Fault(`a ${typeName(callee)} is called`);
    return callee.call(args);
  }

  #arguments(nodes: readonly Node[], scope: Scope): Arguments {
    const positional: Value[] = [];
    const named = new Map<string, Value>();
    const name = (to: string, value: Value): void => {
      if (named.has(to)) throw new Fault(`the argument ${to} twice`);
      named.set(to, value);
    };
    for (const node of nodes) {
      if (node.type === 'KeywordArgumentExpression')
        name((node.key as { value: string }).value, this.value(node.value as Node, scope));
      else if (node.type === 'SpreadExpression')
        positional.push(...iterate(this.value(node.argument as Node, scope)));
      else if (node.type === 'KeywordSpreadExpression') {
        const all = this.value(node.argument as Node, scope);
        if (!(all instanceof Map)) throw new Fault(`** of a ${typeName(all)}`);
        for (const [to, value] of all) name(String(to), value);
      } else positional.push(this.value(node, scope));
    }
    return { positional, named };
  }

  #filtered(value: Value, node: Node, scope: Scope): Value {
    if (node.type === 'Identifier')
      return filter(node.value as string, value, { positional: [], named: new Map() });
    const { callee, args } = node as unknown as { callee: Node; args: Node[] };
    if (callee.type !== 'Identifier') throw new Fault('a filter that is no name');
    return filter(callee.value as string, value, this.#arguments(args, scope));
  }

  /** What an expression is. */
  value(node: Node, scope: Scope): Value {
    this.#step();
    const of = (field: string): Value => this.value(node[field] as Node, scope);
    switch (node.type) {
      case 'StringLiteral':
        return node.value as string;
      case 'IntegerLiteral':
        return int(node.value as number);
      case 'FloatLiteral':
        return new Float(node.value as number);
      case 'ArrayLiteral':
        return (node.value as Node[]).map((one) => this.value(one, scope));
      case 'TupleLiteral':
        return new Tuple((node.value as Node[]).map((one) => this.value(one, scope)));
      case 'ObjectLiteral':
        return new Map(
          [...(node.value as Map<Node, Node>)].map(([name, one]) => [
            key(this.value(name, scope)),
            this.value(one, scope),
          ]),
        );
      case 'Identifier':
        return this.#named(node.value as string, scope);
      case 'Ternary':
        return truth(of('condition')) ? of('trueExpr') : of('falseExpr');
      case 'SelectExpression':
        return truth(of('test')) ? of('lhs') : new Undefined('what has no else');
      case 'TestExpression':
        return check((node.test as { value: string }).value, of('operand')) !== node.negate;
      case 'FilterExpression':
        return this.#filtered(of('operand'), node.filter as Node, scope);
      case 'CallExpression':
        return this.#call(of('callee'), this.#arguments(node.args as Node[], scope));
      case 'MemberExpression':
        return this.#member(node, scope);
      case 'UnaryExpression':
        return this.#unary((node.operator as { value: string }).value, of('argument'));
      case 'BinaryExpression': {
        const operator = (node.operator as { value: string }).value;
        if (operator !== 'and' && operator !== 'or')
          return operate(operator, of('left'), of('right'));
        const left = of('left');
        return truth(left) === (operator === 'and') ? of('right') : left;
      }
      default:
        throw new Fault(`a ${node.type} in an expression`);
    }
  }

  #named(name: string, scope: Scope): Value {
    const constant = constants.get(name);
    if (constant !== undefined) return constant;
    const found = scope.find(name);
    if (found !== undefined) return found;
    if (absent.includes(name)) throw new Fault(`the global ${name}`);
    return new Undefined(name);
  }

  #member(node: Node, scope: Scope): Value {
    const value = this.value(node.object as Node, scope);
    const property = node.property as Node;
    if (!node.computed) {
      if (property.type === 'IntegerLiteral') return subscript(value, property.value as number);
      return attribute(value, property.value as string);
    }
    if (property.type !== 'SliceExpression') return subscript(value, this.value(property, scope));
    const bounds = ['start', 'stop', 'step'].map((field) => property[field] as Node | undefined);
    return slice(
      value,
      bounds.map((bound) => (bound ? this.value(bound, scope) : null)),
    );
  }

  #unary(operator: string, value: Value): Value {
    if (operator === 'not') return !truth(value);
    const number = numeric(value);
    if (value instanceof Undefined) return value.fail();
    if (number === undefined) throw new Fault(`${operator} of a ${typeName(value)}`);
    const signed = operator === '-' ? -number : number;
    return value instanceof Float ? new Float(signed) : int(signed);
  }
}

/** Whether a name is read anywhere in a part of a template. */
function mentions(part: unknown, name: string): boolean {
  if (part instanceof Map) return [...part].some((entry) => mentions(entry, name));
  if (Array.isArray(part)) return part.some((one) => mentions(one, name));
  if (typeof part !== 'object' || part === null) return false;
  const node = part as Node;
  return (
    (node.type === 'Identifier' && node.value === name) ||
    Object.values(node).some((one) => mentions(one, name))
  );
}
