// `plimsoll run`: a program in this process, as `node` would run it, with a client that is open before its first line.
//
// R1. Output, exit code, uncaught errors and signals are the program's own: nothing is caught, printed or handled for it.
// R2. The client is made by the copy of Plimsoll that the program imports, so that getClient() there finds it.

import { statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Command } from 'commander'
import type { Client } from '../../cluster/local-client.ts'
import { loadConfig } from '../../config/index.ts'
import { PlimsollError } from '../../errors/plimsoll-error.ts'
import type { RunCliOptions } from '../run.ts'
import { credentialsOf, prepare } from './prepare.ts'

const EXIT_UNSETTLED = 13

export async function runScript(
  command: Command,
  script: string,
  args: readonly string[],
  options: RunCliOptions,
): Promise<void> {
  // The program may set logging up for itself, and then finds it untouched.
  if (command.optsWithGlobals<{ verbose?: boolean }>().verbose === true) prepare(command, 'warning')
  else loadConfig()
  const path = resolve(script)
  if (statSync(path, { throwIfNoEntry: false })?.isFile() !== true)
    throw new PlimsollError('INVALID_ARGUMENT', `there is no program at ${path}`, { path })
  const client = await openClient(path, options)
  // The program is done when nothing of it keeps the event loop alive. Ended otherwise, it takes the cluster along.
  let finished = false
  process.once('beforeExit', () => {
    // As Node has it when a top-level await never ends.
    if (!finished) process.exitCode ??= EXIT_UNSETTLED
    void client.close()
  })
  process.argv = [process.argv[0] ?? 'node', path, ...(args[0] === '--' ? args.slice(1) : args)]
  if (/\.[cm]?tsx?$/.test(path)) await loadTypeScript()
  // Not awaited here: what it throws is nobody's to catch.
  setImmediate(() => {
    void import(pathToFileURL(path).href).then(() => {
      finished = true
    })
  })
}

async function openClient(path: string, options: RunCliOptions): Promise<Client> {
  if (options.address === undefined) {
    const PlimsollClient = await clientClassFor(path)
    return await PlimsollClient.local({
      ...(options.nthreads === undefined ? {} : { nthreads: options.nthreads }),
      ...(options.memoryLimit === undefined ? {} : { memoryLimit: options.memoryLimit }),
    })
  }
  const { token, tls, insecurePlaintext } = await credentialsOf(options, { create: false })
  const PlimsollClient = await clientClassFor(path)
  return await PlimsollClient.connect(options.address, {
    insecurePlaintext,
    ...(token === null ? {} : { token }),
    ...(tls === null ? {} : { tls }),
  })
}

/** Of the project's own installation; of this one for a program in a folder without any. */
async function clientClassFor(path: string): Promise<typeof Client> {
  let entry: string
  try {
    entry = createRequire(path).resolve('plimsoll')
  } catch {
    return (await import('../../cluster/local-client.ts')).Client
  }
  return ((await import(pathToFileURL(entry).href)) as { Client: typeof Client }).Client
}

/** Not Node's own type stripping, where it exists: that resolves neither './module.js' nor the paths of tsconfig.json. */
async function loadTypeScript(): Promise<void> {
  const [cjs, esm] = await Promise.all([import('tsx/cjs/api'), import('tsx/esm/api')])
  cjs.register()
  esm.register()
}
