import { type Command, Option } from 'commander'
import { addSecurityOptions, duration, type SecurityOptions } from './shared-options.ts'

export interface StatusCliOptions extends SecurityOptions {
  readonly watch?: boolean
  readonly json?: boolean
  readonly interval: number
  readonly timeout: number
  readonly schedulerFile?: string
}

export function addStatusCommand(program: Command): void {
  const command = program
    .command('status')
    .description('show the workers, tasks and memory of a cluster')
    .argument('[address]', 'address of the scheduler, such as tcp://127.0.0.1:8786')
    .option('--watch', 'show it again and again until Ctrl-C')
    .addOption(
      new Option('--interval <duration>', 'how often with --watch')
        .argParser(duration('--interval'))
        .default(1000, '1s'),
    )
    .option('--json', 'as one JSON object (one per line with --watch)')
    .addOption(
      new Option('--timeout <duration>', 'how long to try to reach the scheduler')
        .argParser(duration('--timeout'))
        .default(5000, '5s'),
    )
    .option('--scheduler-file <file>', 'read the address from here')
  addSecurityOptions(command).action(async (address: string | undefined, options: StatusCliOptions) => {
    const { showStatus } = await import('./actions/status.ts')
    await showStatus(command, address, options)
  })
}
