/** Mean of some values, and its standard error, which two values or more have. */
export function meanOf(name: string, values: readonly number[]): Record<string, number> {
  const n = values.length;
  const mean = values.reduce((sum, value) => sum + value, 0) / n;
  if (n < 2) return { [name]: mean };
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { [name]: mean, [`${name}_stderr`]: Math.sqrt(squares / (n - 1) / n) };
}
