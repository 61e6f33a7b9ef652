import { configPaths, loadConfig } from '../../config/index.ts'
import { formatTable } from '../../diagnostics/table.ts'

const show = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value))

export function listConfig(json: boolean): void {
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

export function getConfig(key: string): void {
  const { value, source } = loadConfig().entry(key)
  console.log(`${show(value)}  (${source})`)
}

export function listConfigPaths(): void {
  for (const { path, exists } of configPaths()) console.log(`${path}${exists ? '' : '  (not there)'}`)
}
