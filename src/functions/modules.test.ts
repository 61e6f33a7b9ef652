import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { capture } from './capture.ts'
import { fromModule } from './modules.ts'
import { rebuild } from './rebuild.ts'

type AnyFunction = (...args: never[]) => unknown

let directory = ''
const file = (name: string): string => join(directory, name)
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'plimsoll-modules-'))
  await writeFile(
    file('tasks.mjs'),
    'const factor = 3\nexport const scale = (x) => x * factor\nexport default (x) => -x\nexport const table = {}\n',
  )
  await writeFile(file('broken.mjs'), 'throw new Error("not today")\n')
  await writeFile(file('old.cjs'), 'module.exports = Object.assign({}, { twice: (x) => 2 * x })\n')
})
afterAll(() => rm(directory, { recursive: true }))

const run = async (fn: AnyFunction, ...args: unknown[]): Promise<unknown> => (await rebuild(capture(fn).bytes))(...args)

describe('fromModule', () => {
  it('takes absolute paths, file URLs and packages', async () => {
    expect(await run(fromModule(file('tasks.mjs'), 'scale'), 2)).toBe(6)
    expect(await run(fromModule(pathToFileURL(file('tasks.mjs')), 'scale'), 2)).toBe(6)
    expect(await run(fromModule(pathToFileURL(file('tasks.mjs')).href), 2)).toBe(-2)
    expect(await run(fromModule('acorn', 'parse'), '1', { ecmaVersion: 2022 })).toHaveProperty('type', 'Program')
    expect(await run(fromModule('node:path', 'basename'), '/a/b')).toBe('b')
  })

  it('finds what CommonJS modules export', async () => {
    expect(await run(fromModule(file('old.cjs'), 'twice'), 4)).toBe(8)
  })

  it('takes its name from the export, or from the file', () => {
    expect(capture(fromModule(file('tasks.mjs'), 'scale')).name).toBe('scale')
    expect(capture(fromModule(`${pathToFileURL(file('tasks.mjs')).href}?v=1`)).name).toBe('tasks')
  })

  it('has one id per module and export', () => {
    const id = (name: string): string => capture(fromModule(file('tasks.mjs'), name)).id
    expect(id('scale')).toBe(id('scale'))
    expect(id('scale')).not.toBe(id('default'))
  })

  it('can be called here as well', async () => {
    const scale = fromModule<(x: number) => Promise<number>>(file('tasks.mjs'), 'scale')
    expect(await scale(5)).toBe(15)
  })

  it('refuses relative paths and URLs that cannot be imported', () => {
    for (const url of ['./tasks.mjs', '../tasks.mjs'])
      expect(() => fromModule(url)).toThrow(`new URL('${url}', import.meta.url)`)
    for (const url of ['https://example.org/x.js', '', 'ftp:x'])
      expect(() => fromModule(url)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })

  it('names the exports that there are when the wanted one is missing', async () => {
    await expect(run(fromModule(file('tasks.mjs'), 'scaled'))).rejects.toMatchObject({
      code: 'CANNOT_CAPTURE',
      message: expect.stringMatching(/does not export "scaled"; it exports default, scale, table$/),
      fields: { exports: ['default', 'scale', 'table'] },
    })
    await expect(run(fromModule(file('tasks.mjs'), 'table'))).rejects.toMatchObject({
      message: expect.stringContaining('of type object and not a function'),
    })
  })

  it('says why a module cannot be loaded', async () => {
    await expect(run(fromModule(file('broken.mjs')))).rejects.toMatchObject({
      code: 'CANNOT_CAPTURE',
      message: expect.stringContaining('not today'),
      cause: expect.any(Error),
    })
    await expect(run(fromModule(file('missing.mjs')))).rejects.toMatchObject({
      message: expect.stringContaining('Cannot find module'),
    })
    await expect(run(fromModule('no-such-package-anywhere'))).rejects.toMatchObject({
      message: expect.stringContaining('no-such-package-anywhere'),
    })
  })
})
