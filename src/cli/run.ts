import type { Command } from 'commander'
import { addSecurityOptions, type SecurityOptions, wholeNumber } from './shared-options.ts'

export interface RunCliOptions extends SecurityOptions {
  readonly address?: string
  readonly nthreads?: number
  readonly memoryLimit?: string
}

export function addRunCommand(program: Command): void {
  const command = program
    .command('run')
    .description('run a program (.js or .ts) with a cluster as its current client: getClient() finds it')
    .argument('<script>', 'the program; options for plimsoll come before it')
    .argument('[args...]', 'its arguments, as they are')
    .option('--address <address>', 'use this scheduler instead of an embedded cluster')
    .option(
      '--nthreads <n>',
      'tasks that the embedded cluster runs at a time (default: cores)',
      wholeNumber('--nthreads', 1),
    )
    .option('--memory-limit <limit>', 'memory limit of the embedded cluster’s worker')
    .passThroughOptions()
  addSecurityOptions(command).action(async (script: string, args: readonly string[], options: RunCliOptions) => {
    const { runScript } = await import('./actions/run.ts')
    await runScript(command, script, args, options)
  })
}
