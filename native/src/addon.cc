// The Node-API surface. Handles are externals that own a shared pointer each; JavaScript's side is
// src/backends/native/addon.ts, which tells what each function takes and returns.
#include "addon.h"

#include <string.h>

#include <thread>

namespace dejavu {
namespace {

napi_value list_of(napi_env env, const Names& names) {
  napi_value result;
  napi_create_array(env, &result);
  const char* name = names.list;
  for (uint32_t i = 0; i < static_cast<uint32_t>(names.count); i++) {
    const size_t length = strcspn(name, ",");
    napi_value element;
    napi_create_string_utf8(env, name, length, &element);
    napi_set_element(env, result, i, element);
    name += length + strspn(name + length, ", ");
  }
  return result;
}

// The hash of native/src that this was compiled from (native/sources.cjs); empty: of nobody knows what.
#ifndef DEJAVU_SOURCES
#define DEJAVU_SOURCES ""
#endif
napi_value sources(napi_env env, napi_callback_info) { return text(env, DEJAVU_SOURCES); }

// isas(): string[]
napi_value isas(napi_env env, napi_callback_info) {
  napi_value result;
  napi_create_array(env, &result);
  uint32_t i = 0;
  for (const KernelTable* table : available_isas())
    napi_set_element(env, result, i++, text(env, table->isa));
  return result;
}

// processor(): string[]
napi_value processor(napi_env env, napi_callback_info) {
  napi_value result;
  napi_create_array(env, &result);
  uint32_t i = 0;
  for (const char* isa : isas_of_processor()) napi_set_element(env, result, i++, text(env, isa));
  return result;
}

// Seconds of a run, then of each of its commands, all threads together: a Float64Array.
napi_value times_of(napi_env env, const Run& run) {
  const size_t count = static_cast<size_t>(run.program->commands);
  void* data = nullptr;
  napi_value buffer, result;
  napi_create_arraybuffer(env, (count + 1) * sizeof(double), &data, &buffer);
  napi_create_typedarray(env, napi_float64_array, count + 1, buffer, 0, &result);
  double* times = static_cast<double*>(data);
  times[0] = 1e-9 * static_cast<double>(run.took);
  for (size_t i = 0; i < count; i++) {
    int64_t all = 0;
    for (const auto& thread : run.spent) all += thread[i];
    times[i + 1] = 1e-9 * static_cast<double>(all);
  }
  return result;
}

void resolve(napi_env env, napi_value, void*, void* data) {
  std::unique_ptr<Pending> pending(static_cast<Pending*>(data));
  if (!env) return;
  napi_value result;
  if (pending->timed)
    result = times_of(env, *pending->timed);
  else
    napi_get_undefined(env, &result);
  napi_resolve_deferred(env, pending->deferred, result);
  if (--pending->device->running == 0)
    napi_unref_threadsafe_function(env, pending->device->done);
}

// open(isa, threads): device
napi_value open(napi_env env, napi_callback_info info) {
  Arguments<2> in(env, info);
  char isa[16] = {};
  size_t length;
  int32_t threads = 1;
  napi_get_value_string_utf8(env, in.value[0], isa, sizeof isa, &length);
  napi_get_value_int32(env, in.value[1], &threads);
  for (const KernelTable* table : available_isas()) {
    if (std::string(isa) != table->isa) continue;
    auto device = std::make_unique<Device>();
    device->table = table;
    device->pool = std::make_unique<Pool>(threads);
    napi_create_threadsafe_function(env, nullptr, nullptr, text(env, "dejavu"), 0, 1, nullptr,
                                    nullptr, nullptr, resolve, &device->done);
    napi_unref_threadsafe_function(env, device->done);
    napi_add_env_cleanup_hook(env, Device::end, device.get());
    napi_value result;
    napi_create_external(
        env, device.release(),
        [](napi_env finalizer_env, void* p, void*) {
          std::unique_ptr<Device> unused(static_cast<Device*>(p));
          unused->close(finalizer_env);
        },
        nullptr, &result);
    return result;
  }
  return fail(env, "NO_ISA", "no such instruction set here");
}

// types(): {name, bits, group, minima}[], by their numbers on a tape. bits 0: no type of quantized rows.
napi_value types(napi_env env, napi_callback_info) {
  napi_value names = list_of(env, dtypes);
  for (uint32_t i = 0; i < static_cast<uint32_t>(dtypes.count); i++) {
    const Format format = format_of(static_cast<DType>(i));
    napi_value type, name, bits, group, minima;
    napi_create_object(env, &type);
    napi_get_element(env, names, i, &name);
    napi_create_int32(env, format.bits, &bits);
    napi_create_int64(env, format.group, &group);
    napi_get_boolean(env, format.minima, &minima);
    napi_set_named_property(env, type, "name", name);
    napi_set_named_property(env, type, "bits", bits);
    napi_set_named_property(env, type, "group", group);
    napi_set_named_property(env, type, "minima", minima);
    napi_set_element(env, names, i, type);
  }
  return names;
}

// kernels(device): {op, operands: string[], params: string[]}[], by their numbers on a tape.
napi_value kernels(napi_env env, napi_callback_info info) {
  Arguments<1> in(env, info);
  const KernelTable* table = handle<Device>(env, in.value[0])->table;
  napi_value result;
  napi_create_array(env, &result);
  for (int i = 0; i < table->count; i++) {
    const Kernel& from = table->kernels[i];
    napi_value kernel;
    napi_create_object(env, &kernel);
    napi_set_named_property(env, kernel, "op", text(env, from.op));
    napi_set_named_property(env, kernel, "operands", list_of(env, from.operands));
    napi_set_named_property(env, kernel, "params", list_of(env, from.params));
    napi_set_element(env, result, static_cast<uint32_t>(i), kernel);
  }
  return result;
}

// activations(device): string[], by their numbers as a parameter.
napi_value activations(napi_env env, napi_callback_info info) {
  Arguments<1> in(env, info);
  return list_of(env, handle<Device>(env, in.value[0])->table->activations);
}

// fastF16(device): boolean
napi_value fast_f16(napi_env env, napi_callback_info info) {
  Arguments<1> in(env, info);
  napi_value result;
  napi_get_boolean(env, handle<Device>(env, in.value[0])->table->fast_f16, &result);
  return result;
}

// close(device): ends the threads.
napi_value close(napi_env env, napi_callback_info info) {
  Arguments<1> in(env, info);
  handle<Device>(env, in.value[0])->close(env);
  return nullptr;
}

// allocate(bytes): memory | undefined
napi_value allocate(napi_env env, napi_callback_info info) {
  Arguments<1> in(env, info);
  double bytes = 0;
  napi_get_value_double(env, in.value[0], &bytes);
  auto memory = Memory::allocate(static_cast<size_t>(bytes));
  return memory ? wrap(env, new Piece{std::move(memory)}) : nullptr;
}

// mapFile(path, offset, bytes): memory | undefined
napi_value map_file(napi_env env, napi_callback_info info) {
  Arguments<3> in(env, info);
  const std::string path = string_of(env, in.value[0]);
  double offset = 0, bytes = 0;
  napi_get_value_double(env, in.value[1], &offset);
  napi_get_value_double(env, in.value[2], &bytes);
  auto memory =
      Memory::map(path.c_str(), static_cast<size_t>(offset), static_cast<size_t>(bytes));
  return memory ? wrap(env, new Piece{std::move(memory)}) : nullptr;
}

// buffer(memory): ArrayBuffer over it; asked once.
napi_value buffer(napi_env env, napi_callback_info info) {
  Arguments<1> in(env, info);
  Piece* piece = handle<Piece>(env, in.value[0]);
  auto* held = new std::shared_ptr<Memory>(piece->memory);
  napi_value result;
  const napi_status status = napi_create_external_arraybuffer(
      env, piece->memory->data(), piece->memory->bytes(),
      [](napi_env, void*, void* p) { delete static_cast<std::shared_ptr<Memory>*>(p); }, held,
      &result);
  if (status != napi_ok) {
    delete held;
    return fail(env, "NO_BUFFER", "this runtime has no external ArrayBuffers");
  }
  piece->in_buffer = held;
  return result;
}

// free(memory, buffer): detaches the buffer; the memory goes when no program points into it.
napi_value release_memory(napi_env env, napi_callback_info info) {
  Arguments<2> in(env, info);
  Piece* piece = handle<Piece>(env, in.value[0]);
  if (!piece->memory) return nullptr;
  std::shared_ptr<Memory> held = std::move(piece->memory);
  if (piece->in_buffer) {
    piece->in_buffer->reset();
    piece->in_buffer = nullptr;
    napi_detach_arraybuffer(env, in.value[1]);
  }
  return nullptr;
}

// compile(device, tape: Float64Array, memory[]): program
napi_value compile(napi_env env, napi_callback_info info) {
  Arguments<3> in(env, info);
  Device* device = handle<Device>(env, in.value[0]);
  size_t length = 0;
  void* tape = nullptr;
  napi_get_typedarray_info(env, in.value[1], nullptr, &length, &tape, nullptr, nullptr);
  uint32_t pieces = 0;
  napi_get_array_length(env, in.value[2], &pieces);
  std::vector<std::shared_ptr<Memory>> memory;
  for (uint32_t i = 0; i < pieces; i++) {
    napi_value element;
    napi_get_element(env, in.value[2], i, &element);
    memory.push_back(handle<Piece>(env, element)->memory);
    if (!memory.back()) return fail(env, "FREED", "a tensor's memory has been freed");
  }
  if (!device->pool) return fail(env, "CLOSED", "the backend is closed");
  std::string error;
  auto program = Program::parse(static_cast<const double*>(tape), length, std::move(memory),
                                *device->table, device->pool->threads(), &error);
  if (!program) return fail(env, "BAD_TAPE", error);
  return wrap(env, new std::shared_ptr<const Program>(std::move(program)));
}

// release(program)
napi_value release_program(napi_env env, napi_callback_info info) {
  Arguments<1> in(env, info);
  handle<std::shared_ptr<const Program>>(env, in.value[0])->reset();
  return nullptr;
}

// run(device, program, timed: boolean): Promise<Float64Array | undefined>
napi_value run(napi_env env, napi_callback_info info) {
  Arguments<3> in(env, info);
  bool timed = false;
  napi_get_value_bool(env, in.value[2], &timed);
  Device* device = handle<Device>(env, in.value[0]);
  const auto& program = *handle<std::shared_ptr<const Program>>(env, in.value[1]);
  if (!device->pool) return fail(env, "CLOSED", "the backend is closed");
  if (!program) return fail(env, "RELEASED", "the program has been released");
  napi_value promise;
  auto* pending = new Pending{device, nullptr, nullptr};
  napi_create_promise(env, &pending->deferred, &promise);
  if (device->running++ == 0) napi_ref_threadsafe_function(env, device->done);
  auto order = std::make_shared<Run>();
  order->program = program;
  if (timed) {
    const size_t commands = static_cast<size_t>(program->commands);
    order->spent.assign(static_cast<size_t>(device->pool->threads()),
                        std::vector<int64_t>(commands));
    order->began = now();
    pending->timed = order;
  }
  order->finished = [pending] {
    napi_call_threadsafe_function(pending->device->done, pending, napi_tsfn_nonblocking);
  };
  device->pool->submit(std::move(order));
  return promise;
}

napi_value start(napi_env env, napi_value exports) {
  const napi_property_descriptor functions[] = {
#define DEJAVU_FUNCTION(name, f) {name, nullptr, f, nullptr, nullptr, nullptr, napi_default, nullptr}
      DEJAVU_FUNCTION("isas", isas),
      DEJAVU_FUNCTION("processor", processor),
      DEJAVU_FUNCTION("open", open),
      DEJAVU_FUNCTION("sources", sources),
      DEJAVU_FUNCTION("types", types),
      DEJAVU_FUNCTION("kernels", kernels),
      DEJAVU_FUNCTION("activations", activations),
      DEJAVU_FUNCTION("fastF16", fast_f16),
      DEJAVU_FUNCTION("close", close),
      DEJAVU_FUNCTION("allocate", allocate),
      DEJAVU_FUNCTION("mapFile", map_file),
      DEJAVU_FUNCTION("buffer", buffer),
      DEJAVU_FUNCTION("free", release_memory),
      DEJAVU_FUNCTION("convert", convert_matrix),
      DEJAVU_FUNCTION("compile", compile),
      DEJAVU_FUNCTION("release", release_program),
      DEJAVU_FUNCTION("run", run),
#undef DEJAVU_FUNCTION
  };
  napi_define_properties(env, exports, sizeof functions / sizeof functions[0], functions);
  return exports;
}

}  // namespace
}  // namespace dejavu

NAPI_MODULE_INIT() { return dejavu::start(env, exports); }
