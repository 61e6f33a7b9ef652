// Many processes claim, purge and release worker directories in one place at the same time, and some die holding theirs:
// nobody loses a directory he holds, nothing is left in the end. Runs on dist, since it spawns processes.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { claimDirectories } from '../../dist/store/directories.js'

const MODULE = resolve('dist/store/directories.js')

let base = ''
let children: ChildProcess[] = []
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'plimsoll-claims-'))
  children = []
})
afterEach(async () => {
  for (const child of children) child.kill('SIGKILL')
  rmSync(base, { recursive: true, force: true })
})

/** Claims `count` directories again and again, and fails when one that it holds disappears. */
function claimer(name: string, count: number, rounds: number, env: Record<string, string>): ChildProcess {
  const source = `
    import { existsSync, writeFileSync } from 'node:fs'
    const { claimDirectories } = await import(${JSON.stringify(`file://${MODULE}`)})
    for (let round = 0; round < ${rounds}; round++) {
      const claims = await Promise.all(Array.from({ length: ${count} }, (_, i) =>
        claimDirectories({ workerId: '${name}-' + round + '-' + i, localBase: ${JSON.stringify(base)}, memoryBase: null, memoryLimit: 0 })))
      for (const { local } of claims) writeFileSync(local + '/mine', '')
      await new Promise((resolve) => setTimeout(resolve, 20))
      for (const { local } of claims) if (!existsSync(local + '/mine')) { console.error('lost ' + local); process.exit(1) }
      if (process.argv[1] !== 'stay') for (const claim of claims) await claim.release({ remove: true })
    }
    console.log('ready')
    if (process.argv[1] === 'stay') setInterval(() => {}, 1000)
  `
  const stays = name.startsWith('stay')
  const child = spawn(process.execPath, ['--input-type=module', '-e', source, ...(stays ? ['stay'] : [])], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...env },
  })
  children.push(child)
  return child
}

describe('claims by many processes', () => {
  it.each([
    ['with flock', [{}, {}, {}, {}]],
    ['without koffi', [1, 2, 3, 4].map(() => ({ PLIMSOLL_NO_KOFFI: '1' }))],
    ['of both kinds', [{}, { PLIMSOLL_NO_KOFFI: '1' }, {}, { PLIMSOLL_NO_KOFFI: '1' }]],
  ])('%s: nobody loses a directory, the dead are purged, nothing is left', async (_, environments) => {
    const dying = claimer('stay', 5, 1, environments[0] ?? {})
    await once(dying.stdout as NodeJS.EventEmitter, 'data')
    dying.kill('SIGKILL')
    await once(dying, 'exit')
    const root = join(base, `plimsoll-${process.geteuid?.()}`)
    expect(readdirSync(root).filter((name) => name.startsWith('stay'))).toHaveLength(10)
    const codes = await Promise.all(
      environments.map(async (env, index) => {
        const [code] = (await once(claimer(`p${index}`, 12, 3, env), 'exit')) as [number | null]
        return code
      }),
    )
    expect(codes).toEqual(environments.map(() => 0))
    const last = await claimDirectories({ workerId: 'last', localBase: base, memoryBase: null, memoryLimit: 0 })
    expect(readdirSync(root).sort()).toEqual(['last', 'last.lock'])
    await last.release({ remove: true })
    expect(readdirSync(base)).toEqual([])
  })
})
