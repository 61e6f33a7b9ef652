/** `range(3)` is `[0, 1, 2]`; `range(1, 7, 2)` is `[1, 3, 5]`; a negative step counts down. */
export function range(stop: number): number[]
export function range(start: number, stop: number, step?: number): number[]
export function range(first: number, stop?: number, step = 1): number[] {
  const [start, end] = stop === undefined ? [0, first] : [first, stop]
  if (!Number.isFinite(start) || !Number.isFinite(end))
    throw new RangeError(`a range goes between two numbers, not from ${start} to ${end}`)
  if (step === 0 || !Number.isFinite(step)) throw new RangeError(`the step of a range must not be ${step}`)
  const length = Math.max(0, Math.ceil((end - start) / step))
  return Array.from({ length }, (_, index) => start + index * step)
}
