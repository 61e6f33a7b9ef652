// Captured functions in a process of their own: Node's loader as it is, without a test transformer around it.

import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const dist = (path: string): string => JSON.stringify(pathToFileURL(resolve('dist', path)).href)
const PRELUDE = `
import { capture } from ${dist('functions/capture.js')}
import { fromModule } from ${dist('functions/modules.js')}
import { rebuild } from ${dist('functions/rebuild.js')}
const run = async (fn, ...args) => (await rebuild(capture(fn).bytes))(...args)
const show = async (promise) => console.log(JSON.stringify(await promise.catch((error) => error.message)))
`

let directory = ''
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'plimsoll-functions-'))
  const typed =
    'import { g } from "./g.ts"\nenum Unit { Meter = 2 }\nexport const f = (x: number): number => x * g() * Unit.Meter\n'
  for (const [folder, type] of [
    ['esm', 'module'],
    ['cjs', 'commonjs'],
  ] as const) {
    await mkdir(join(directory, folder))
    await writeFile(join(directory, folder, 'package.json'), JSON.stringify({ type }))
    await writeFile(join(directory, folder, 'f.ts'), typed)
    await writeFile(join(directory, folder, 'g.ts'), 'export const g = (): number => 10\n')
  }
  await mkdir(join(directory, 'node_modules', 'local-package'), { recursive: true })
  await writeFile(
    join(directory, 'node_modules', 'local-package', 'package.json'),
    '{ "name": "local-package", "main": "main.js" }',
  )
  await writeFile(join(directory, 'node_modules', 'local-package', 'main.js'), 'exports.answer = () => 42\n')
})
afterAll(() => rm(directory, { recursive: true }))

/** What the program printed, line by line; nothing may be on stderr. */
async function printed(program: string, cwd = directory): Promise<unknown[]> {
  const file = join(directory, 'program.mjs')
  await writeFile(file, PRELUDE + program)
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [file], { cwd, timeout: 15_000 })
  expect(stderr).toBe('')
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as unknown)
}

describe('in a plain process', () => {
  it('import() finds the packages of the program’s project, without a warning', async () => {
    const lines = await printed(`
      await show(run(async () => (await import('local-package')).answer()))
      await show(run(async (name) => (await import(name)).basename('/a/b'), 'node:path'))
      await show(run(fromModule('local-package', 'answer')))
      await show(run(async () => import('not-installed')))
    `)
    expect(lines.slice(0, 3)).toEqual([42, 'b', 42])
    expect(lines[3]).toContain("Cannot find package 'not-installed'")
  })

  it('fromModule imports TypeScript, with imports of its own, as ESM and as CommonJS', async () => {
    const call = (folder: string): string =>
      `await show(run(fromModule(${JSON.stringify(join(directory, folder, 'f.ts'))}, 'f'), 2))`
    expect(await printed(`${call('esm')}\n${call('cjs')}`)).toEqual([40, 40])
  })

  it('functions run whatever the directory is, and names in surroundings are refused', async () => {
    const lines = await printed(
      `
      const factor = 2
      const score = (x) => x * factor
      await show(run((x) => x + 1, 1))
      await show((async () => capture(score))())
    `,
      tmpdir(),
    )
    expect(lines[0]).toBe(2)
    expect(lines[1]).toBe(
      'function "score" uses "factor" from its surroundings, which is not sent to workers yet: pass it as an argument, or use fromModule(url, "score")',
    )
  })
})
