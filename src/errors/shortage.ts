const CODES: ReadonlySet<unknown> = new Set(['EMFILE', 'ENFILE', 'ENOMEM'])

/**
 * This process, or the machine, has no descriptor or no memory left: that a file could not be read then says nothing about
 * the file. To take it for lost would destroy values for a mistake of whoever left descriptors open.
 */
export function isShortage(thrown: unknown): thrown is Error {
  return thrown instanceof Error && CODES.has((thrown as NodeJS.ErrnoException).code)
}
