import type { Command } from 'commander'

export function addConfigCommand(program: Command): void {
  const command = program.command('config').description('show the effective configuration and where each value was set')
  command
    .command('list', { isDefault: true })
    .description('every key with its effective value and its source')
    .option('--json', 'as JSON')
    .action(async (options: { json?: boolean }) => {
      const { listConfig } = await import('./actions/config.ts')
      listConfig(options.json === true)
    })
  command
    .command('get')
    .argument('<key>', 'such as worker.memory.target')
    .description('one value and where it was set')
    .action(async (key: string) => {
      const { getConfig } = await import('./actions/config.ts')
      getConfig(key)
    })
  command
    .command('path')
    .description('the files that are read, in rising precedence')
    .action(async () => {
      const { listConfigPaths } = await import('./actions/config.ts')
      listConfigPaths()
    })
  for (const sub of command.commands) sub.exitOverride()
}
