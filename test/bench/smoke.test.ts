// The benchmarks run: a case from the command line to its JSON, small and without peers. Nothing is judged by its time.

import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, expect, it } from 'vitest'
import type { CaseReport } from '../../bench/figures.ts'

const MAIN = fileURLToPath(new URL('../../bench/main.ts', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'plimsoll-bench-test-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const bench = (...args: string[]) => promisify(execFile)(process.execPath, ['--import', 'tsx', MAIN, ...args])

it('measures a case and writes every sample as JSON', async () => {
  const file = join(folder, 'result.json')
  const { stdout } = await bench('--quick', '--peers', 'none', '--case', 'a', '--json', file)
  expect(stdout).toMatch(/^a +tasks per second +Plimsoll +[\d,]+\/s/m)
  const result = JSON.parse(readFileSync(file, 'utf8')) as { format: number; cases: CaseReport[] }
  const [report] = result.cases
  expect(report).toMatchObject({ id: 'a', systems: { plimsoll: { failures: [] } }, ratios: [] })
  expect(report?.systems.plimsoll?.samples).toHaveLength(1)
  expect(report?.systems.plimsoll?.figures['tasksPerSecond']?.min).toBeGreaterThan(0)
})

it('refuses a case or a peer that does not exist, with exit code 2', async () => {
  await expect(bench('--case', 'z')).rejects.toMatchObject({ code: 2, stderr: expect.stringContaining('"z"') })
  await expect(bench('--peers', 'ray')).rejects.toMatchObject({ code: 2, stderr: expect.stringContaining('"ray"') })
})
