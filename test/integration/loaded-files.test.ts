// What a process loads before it does anything: the time to start is mostly that, and it grows by an import in the wrong
// place, which no other test would notice. No timings here: lists of files.

import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import * as sources from '../../src/index.ts'

const DIST = resolve('dist')
const run = promisify(execFile)

/** Files of dist and packages that are loaded with `entry`, found by following static imports. */
function loadedWith(entry: string): { files: string[]; packages: string[]; builtins: string[] } {
  const files = new Set<string>()
  const builtins = new Set<string>()
  const packages = new Set<string>()
  const follow = (path: string): void => {
    if (files.has(path)) return
    files.add(path)
    const text = readFileSync(join(DIST, path), 'utf8')
    for (const match of text.matchAll(/^(?:import|export)\b(?:[^'"]*\bfrom)? ?"([^"]+)";$/gm)) {
      const specifier = match[1] as string
      if (specifier.startsWith('.')) follow(relative(DIST, resolve(DIST, dirname(path), specifier)))
      else (specifier.startsWith('node:') ? builtins : packages).add(specifier)
    }
  }
  follow(entry)
  return { files: [...files].toSorted(), packages: [...packages].toSorted(), builtins: [...builtins].toSorted() }
}

const chunks = (names: readonly string[]): string[] =>
  ['rolldown-runtime', ...names].map((name) => `chunks/${name}.js`).toSorted()

describe('no package is loaded', () => {
  it.each([
    ['index.js', ['base', 'launch', 'rpc', 'client']],
    ['cluster/hosted-cluster.js', ['base', 'launch', 'rpc', 'store', 'scheduler', 'nanny', 'scaling']],
    ['worker/worker-process.js', ['base', 'launch', 'rpc', 'store', 'runner', 'worker']],
    ['executor/main.js', ['base', 'runner', 'executor']],
  ])('with %s, and of our code %s', (entry, names) => {
    const { files, packages } = loadedWith(entry)
    expect({ files: files.filter((file) => file !== entry), packages }).toEqual({ files: chunks(names), packages: [] })
  })
})

it('processes that take long to start are started before their parent has loaded what it does not need for that', () => {
  for (const entry of ['cluster/helper-main.js', 'worker/main.js']) {
    const { files, builtins } = loadedWith(entry)
    expect(files).toEqual([...chunks(['launch']), entry].toSorted())
    expect(builtins).toEqual(['node:child_process', 'node:module', 'node:url'])
  }
})

it('an executor loads no module of Node that takes long and that it does not need', () => {
  const { builtins } = loadedWith('executor/main.js')
  expect(builtins).toContain('node:net')
  for (const name of ['node:crypto', 'node:tls', 'node:child_process']) expect(builtins).not.toContain(name)
})

it('the command line parses its arguments before it loads anything that they do not need', () => {
  const { files, packages } = loadedWith('cli/main.js')
  expect({ files, packages }).toEqual({ files: [...chunks(['base', 'cli']), 'cli/main.js'], packages: ['commander'] })
})

it('importing plimsoll loads no package behind the back of import statements, and nothing for encryption', async () => {
  const script = `
    import { createRequire } from 'node:module'
    await import(${JSON.stringify(pathToFileURL(join(DIST, 'index.js')).href)})
    const tls = process.moduleLoadList.includes('NativeModule tls')
    console.log(JSON.stringify({ required: Object.keys(createRequire(import.meta.url).cache), tls }))`
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script])
  expect(JSON.parse(stdout)).toEqual({ required: [], tls: false })
})

it('a path of dist exports what its source exports, and all of them the same classes', async () => {
  const load = async (path: string): Promise<Record<string, unknown>> =>
    (await import(pathToFileURL(join(DIST, path)).href)) as Record<string, unknown>
  const index = await load('index.js')
  expect(Object.keys(index).toSorted()).toEqual(Object.keys(sources).toSorted())
  expect((await load('errors/plimsoll-error.js'))['PlimsollError']).toBe(index['PlimsollError'])
  expect(((await load('client/client.js'))['Client'] as { name: string }).name).toBe('Client')
})
