import { PlimsollError } from '../errors/plimsoll-error.ts'

/** Tuples of what the iterables give together, up to the end of the shortest. */
export function* zip(iterables: readonly unknown[]): Generator<unknown[]> {
  if (iterables.length === 0)
    throw new PlimsollError('INVALID_ARGUMENT', 'map needs at least one iterable of arguments.')
  const iterators = iterables.map((iterable, index) => {
    const start = (iterable as Iterable<unknown> | null | undefined)?.[Symbol.iterator]
    if (typeof start === 'function') return start.call(iterable)
    throw new PlimsollError(
      'INVALID_ARGUMENT',
      `Argument ${index} of map is not iterable: pass a list of values, one for each call.`,
      { index },
    )
  })
  for (;;) {
    const tuple: unknown[] = []
    for (const iterator of iterators) {
      const { done, value } = iterator.next()
      if (done === true) {
        for (const other of iterators) if (other !== iterator) other.return?.()
        return
      }
      tuple.push(value)
    }
    yield tuple
  }
}
