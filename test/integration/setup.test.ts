// scripts/setup.mjs on a checkout of its own, with stand-ins for npm and the compiler that write down that they were called.

import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { eventually } from '../e2e/installed.ts'

const NPM = `#!${process.execPath}
const fs = require('node:fs')
fs.appendFileSync('calls', 'npm ' + process.argv.slice(2, 3) + '\\n')
fs.mkdirSync('node_modules/typescript/bin', { recursive: true })
fs.copyFileSync('tsc.cjs', 'node_modules/typescript/bin/tsc')
`
const TSC = `
const fs = require('node:fs')
fs.appendFileSync('calls', 'tsc\\n')
if (fs.existsSync('src/wrong.ts')) { console.log('src/wrong.ts(1,1): error'); process.exit(2) }
fs.mkdirSync('dist', { recursive: true })
const until = Date.now() + Number(process.env.TSC_MS ?? 0)
while (Date.now() < until);
`
const BUNDLE = `
import fs from 'node:fs'
fs.appendFileSync('calls', 'bundle\\n')
fs.mkdirSync('dist/cli', { recursive: true })
fs.writeFileSync('dist/cli/main.js', '')
`

let checkout: string
beforeEach(() => {
  checkout = mkdtempSync(join(tmpdir(), 'plimsoll-setup-'))
  write('package.json', '{ "engines": { "node": ">=20.19" } }')
  write('package-lock.json', '{}')
  write('tsconfig.json', '{}')
  write('tsconfig.build.json', '{}')
  write('src/cli/main.ts', 'export {}')
  write('src/base/one.ts', 'export {}')
  write('bin/npm', NPM)
  chmodSync(join(checkout, 'bin/npm'), 0o755)
  write('tsc.cjs', TSC)
  write('scripts/bundle.mjs', BUNDLE)
  copyFileSync(resolve('scripts/setup.mjs'), join(checkout, 'scripts/setup.mjs'))
})
afterEach(() => rmSync(checkout, { recursive: true, force: true }))

function write(path: string, text: string): void {
  mkdirSync(dirname(join(checkout, path)), { recursive: true })
  writeFileSync(join(checkout, path), text)
}

/** What was called since the last look. */
function calls(): string[] {
  const path = join(checkout, 'calls')
  const lines = existsSync(path) ? readFileSync(path, 'utf8').trimEnd().split('\n') : []
  rmSync(path, { force: true })
  return lines
}

/** `compileMs`: how long the compiler takes. */
function start(args: readonly string[], compileMs = 0): ChildProcessWithoutNullStreams {
  const env = {
    ...process.env,
    TSC_MS: String(compileMs),
    PATH: `${join(checkout, 'bin')}:${process.env['PATH'] ?? ''}`,
  }
  return spawn(process.execPath, [join(checkout, 'scripts/setup.mjs'), ...args], { env })
}

async function setup(...args: string[]): Promise<{ code: number | null; output: string }> {
  const child = start(args)
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()))
  return await new Promise((done) => child.on('close', (code) => done({ code, output })))
}

describe('scripts/setup.mjs', () => {
  it('installs and builds a fresh checkout, then does nothing, quietly', async () => {
    const first = await setup()
    expect(first.output.split('\n')).toEqual([
      'plimsoll: installing dependencies (npm ci)',
      'plimsoll: building dist',
      '',
    ])
    expect(calls()).toEqual(['npm ci', 'tsc', 'bundle'])
    expect(await setup()).toEqual({ code: 0, output: '' })
    expect(calls()).toEqual([])
  })

  it('installs again when the lock file changed, and takes what npm installed by hand as it is', async () => {
    await setup()
    calls()
    write('package-lock.json', '{ "changed": true }')
    await setup()
    expect(calls()).toEqual(['npm ci'])
    rmSync(join(checkout, 'node_modules/.plimsoll-setup'))
    write('node_modules/.package-lock.json', '{}')
    expect(await setup()).toEqual({ code: 0, output: '' })
    expect(calls()).toEqual([])
  })

  it('builds again when a source was changed, added or removed, but not for a test', async () => {
    await setup()
    calls()
    write('src/base/one.ts', 'export const one = 1')
    await setup()
    write('src/base/two.ts', 'export {}')
    await setup()
    write('dist/base/two.js', 'old')
    rmSync(join(checkout, 'src/base/two.ts'))
    await setup()
    write('src/base/one.test.ts', 'export {}')
    await setup()
    expect(calls()).toEqual(['tsc', 'bundle', 'tsc', 'bundle', 'tsc', 'bundle'])
    expect(existsSync(join(checkout, 'dist/base/two.js'))).toBe(false)
    await setup('--force')
    expect(calls()).toEqual(['tsc', 'bundle'])
  })

  it('fails when the sources do not compile, each time until they do', async () => {
    write('src/wrong.ts', '')
    for (let i = 0; i < 2; i++) {
      const { code, output } = await setup()
      expect(code).toBe(1)
      expect(output).toMatch(
        /src\/wrong\.ts\(1,1\): error\nplimsoll: the sources do not compile \(tsc: exit code 2\)\n$/,
      )
    }
    rmSync(join(checkout, 'src/wrong.ts'))
    expect(await setup()).toEqual({ code: 0, output: 'plimsoll: building dist\n' })
  })

  it('lets one of several do the work while the others wait', async () => {
    const results = await Promise.all([setup(), setup(), setup()])
    expect(results.map(({ code }) => code)).toEqual([0, 0, 0])
    expect(calls()).toEqual(['npm ci', 'tsc', 'bundle'])
    expect(results.map(({ output }) => output).join('')).toMatch(
      /waiting for another setup of this checkout \(pid \d+\)/,
    )
  })

  it('takes over from one that was killed in the middle', async () => {
    await setup()
    calls()
    write('src/base/one.ts', 'export const one = 1')
    const killed = start([], 1000)
    await eventually('the first one builds', () => existsSync(join(checkout, 'calls')))
    killed.kill('SIGKILL')
    await once(killed, 'exit')
    expect((await setup()).code).toBe(0)
    expect(calls()).toEqual(['tsc', 'tsc', 'bundle'])
  })

  it('says in one line that Node is too old', async () => {
    write('package.json', '{ "engines": { "node": ">=999.1" } }')
    const { code, output } = await setup()
    expect(code).toBe(1)
    expect(output).toBe(
      `plimsoll: Plimsoll needs Node >=999.1; this is ${process.versions.node}. Get a newer one from https://nodejs.org\n`,
    )
  })
})
