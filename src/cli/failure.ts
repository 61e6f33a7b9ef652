import { isErrorCode, toError } from '../errors/plimsoll-error.ts'

/** Prints an error as one line (with `verbose`, and for errors that are not ours, its stack) and returns the exit code. */
export function reportFailure(thrown: unknown, options: { readonly verbose: boolean }): number {
  const error = toError(thrown)
  const code = (error as { code?: unknown }).code
  const ours = error.name === 'PlimsollError' && typeof code === 'string'
  if (ours) process.stderr.write(`plimsoll: ${error.message} [${code}]\n`)
  else process.stderr.write(`plimsoll: ${error.name}: ${error.message}\n`)
  if (options.verbose || !ours) process.stderr.write(`${error.stack ?? ''}\n`)
  return isErrorCode(error, 'INVALID_ARGUMENT') || isErrorCode(error, 'CONFIG_INVALID') ? 2 : 1
}
