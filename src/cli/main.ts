#!/usr/bin/env node
// The command line: one executable with subcommands. Composition root of processes; decisions live in the roles.
// Exit codes: 0 done, 1 failed, 2 usage.

import { Command, CommanderError } from 'commander'
import { addConfigCommand } from './config.ts'
import { addDemoCommand } from './demo.ts'
import { reportFailure } from './failure.ts'
import { packageVersion } from './package-version.ts'
import { addRunCommand } from './run.ts'
import { addSchedulerCommand } from './scheduler.ts'
import { addStatusCommand } from './status.ts'
import { addWorkerCommand } from './worker.ts'

const EXIT_USAGE = 2

function createProgram(): Command {
  const program = new Command('plimsoll')
    .description('Distributed computing for TypeScript that never sinks a worker.')
    .version(packageVersion(), '-V, --version', 'print the version')
    .option('--verbose', 'log what happens, and print the stack of an error')
    .showHelpAfterError('(add --help for the options of a command)')
    .enablePositionalOptions()
    .exitOverride()
  for (const add of [
    addSchedulerCommand,
    addWorkerCommand,
    addRunCommand,
    addStatusCommand,
    addConfigCommand,
    addDemoCommand,
  ])
    add(program)
  for (const command of program.commands) command.exitOverride()
  // A reader that has seen enough (`plimsoll config | head`) is no error. A program under `run` decides for itself.
  process.stdout.on('error', onOutputError)
  program.hook('preAction', (_program, command) => {
    if (command.name() === 'run') process.stdout.off('error', onOutputError)
  })
  return program
}

function onOutputError(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE') throw error
  process.exit()
}

async function main(): Promise<void> {
  const program = createProgram()
  try {
    await program.parseAsync(process.argv)
  } catch (error) {
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode === 0 ? 0 : EXIT_USAGE
      return
    }
    process.exitCode = reportFailure(error, { verbose: program.opts<{ verbose?: boolean }>().verbose === true })
  }
}

await main()
