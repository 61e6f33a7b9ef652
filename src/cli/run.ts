import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Command } from 'commander'
import { Client } from '../cluster/local-client.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import { addSecurityOptions, credentialsOf, prepare, wholeNumber, type SecurityOptions } from './shared-options.ts'

interface RunCliOptions extends SecurityOptions {
  readonly address?: string
  readonly nthreads?: number
  readonly memoryLimit?: string
}

const EXIT_INTERRUPTED = 130

export function addRunCommand(program: Command): void {
  const command = program
    .command('run')
    .description('run a program (.js or .ts) with a cluster as its current client: getClient() finds it')
    .argument('<script>', 'the program')
    .argument('[args...]', 'its arguments, after --')
    .option('--address <address>', 'use this scheduler instead of an embedded cluster')
    .option('--nthreads <n>', 'threads of the embedded cluster (default: cores)', wholeNumber('--nthreads', 1))
    .option('--memory-limit <limit>', 'memory limit of the embedded cluster’s worker')
    .passThroughOptions()
  addSecurityOptions(command).action(
    async (script: string, args: readonly string[], options: RunCliOptions) =>
      await runScript(command, script, args, options),
  )
}

async function runScript(
  command: Command,
  script: string,
  args: readonly string[],
  options: RunCliOptions,
): Promise<void> {
  prepare(command, 'warning')
  const path = resolve(script)
  if (!existsSync(path)) throw new PlimsollError('INVALID_ARGUMENT', `there is no program at ${path}`, { path })
  const client = await openClient(options)
  closeWhenDone(client)
  process.argv = [process.argv[0] ?? 'node', path, ...args]
  try {
    await loadTypeScript(path)
    await import(pathToFileURL(path).href)
  } catch (error) {
    // The program's own error, printed as Node prints it; exit code 1 as for any program that throws.
    console.error(error)
    process.exitCode = 1
    await client.close()
  }
}

async function openClient(options: RunCliOptions): Promise<Client> {
  if (options.address === undefined) {
    return await Client.local({
      ...(options.nthreads === undefined ? {} : { nthreads: options.nthreads }),
      ...(options.memoryLimit === undefined ? {} : { memoryLimit: options.memoryLimit }),
    })
  }
  const { token, tls } = await credentialsOf(options, { create: false })
  return await Client.connect(options.address, {
    ...(token === null ? {} : { token }),
    ...(tls === null ? {} : { tls }),
  })
}

/** The program is done when nothing of it keeps the event loop alive; then the cluster goes, and the exit code stays the program's. */
function closeWhenDone(client: Client): void {
  process.once('beforeExit', () => void client.close())
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      void client.close().finally(() => process.exit(EXIT_INTERRUPTED))
    })
  }
}

/** Node 22.18 and later run TypeScript by themselves; before, tsx's loader does it. */
async function loadTypeScript(path: string): Promise<void> {
  if (!/\.[cm]?ts$/.test(path) || (process.features as { typescript?: unknown }).typescript) return
  const { register } = await import('tsx/esm/api')
  register()
}
