import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { PlimsollError, toError } from '../../errors/plimsoll-error.ts'

/** Imports modules named on the command line: paths (from the working directory) or packages. */
export async function preload(modules: readonly string[]): Promise<void> {
  for (const name of modules) {
    const specifier = /^[./]|\.[cm]?[jt]s$/.test(name) ? pathToFileURL(resolve(name)).href : name
    try {
      await import(specifier)
    } catch (error) {
      throw new PlimsollError(
        'INVALID_ARGUMENT',
        `--preload ${name} failed: ${toError(error).message}`,
        { module: name },
        { cause: error },
      )
    }
  }
}
