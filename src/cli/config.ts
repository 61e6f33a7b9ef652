import type { Command } from 'commander'
import { configPaths, loadConfig } from '../config/index.ts'
import { formatTable } from '../diagnostics/table.ts'

export function addConfigCommand(program: Command): void {
  const command = program.command('config').description('show the effective configuration and where each value was set')
  command
    .command('list', { isDefault: true })
    .description('every key with its effective value and its source')
    .option('--json', 'as JSON')
    .action((options: { json?: boolean }) => listConfig(options.json === true))
  command
    .command('get')
    .argument('<key>', 'such as worker.memory.target')
    .description('one value and where it was set')
    .action((key: string) => getConfig(key))
  command
    .command('path')
    .description('the files that are read, in rising precedence')
    .action(() => {
      for (const { path, exists } of configPaths()) console.log(`${path}${exists ? '' : '  (not there)'}`)
    })
  for (const sub of command.commands) sub.exitOverride()
}

const show = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value))

function listConfig(json: boolean): void {
  const entries = loadConfig().entries()
  if (json)
    console.log(
      JSON.stringify(Object.fromEntries(entries.map(({ key, value, source }) => [key, { value, source }])), null, 2),
    )
  else
    console.log(
      formatTable(
        ['key', 'value', 'set by'],
        entries.map(({ key, value, source }) => [key, show(value), source]),
      ),
    )
}

function getConfig(key: string): void {
  const { value, source } = loadConfig().entry(key)
  console.log(`${show(value)}  (${source})`)
}
