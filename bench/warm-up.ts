/** Does the work in batches until `warmUpMs` have passed, at least once. `batch` gets a number that never comes again. */
export async function warmUp(warmUpMs: number, batch: (round: number) => Promise<void>): Promise<void> {
  const end = performance.now() + warmUpMs
  let round = 0
  do await batch(round++)
  while (performance.now() < end)
}

/** Arguments of warm-up tasks are negative: none of them is a task of the measured part. */
export function warmUpRange(round: number, count: number): number[] {
  return Array.from({ length: count }, (_, index) => -1 - index - round * count)
}
