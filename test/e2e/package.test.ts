// What is in the package, and how it looks to a project that uses it.

import { execFile } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { installPackage, Running, type Project } from './installed.ts'

let project: Project
let root: string
beforeAll(async () => {
  project = await installPackage()
  root = join(project.directory, 'node_modules/plimsoll')
})
afterAll(() => project.remove())

function subpaths(): string[] {
  const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { exports: object }
  return Object.keys(exports)
    .filter((name) => name !== './package.json')
    .map((name) => name.replace('.', 'plimsoll'))
}

it('holds built modules, their types and the documents, no tests and nothing else', () => {
  const files = readdirSync(root, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  const names = files.map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
  expect(names.filter((name) => !/^dist\/.*\.(js|d\.ts)$|\.md$|^LICENSE$|^package\.json$/.test(name))).toEqual([])
  expect(names.filter((name) => /\.(test|conformance)\./.test(name))).toEqual([])
})

it('can be imported by each of its subpaths, and does nothing by itself then', async () => {
  const script = project.write(
    'imports.mjs',
    subpaths()
      .map((name) => `console.log(Object.keys(await import('${name}')).length > 0)\n`)
      .join(''),
  )
  const { code, stdout, stderr } = await new Running(project, [script]).ended
  expect([stdout, stderr, code]).toEqual(['true\n'.repeat(subpaths().length), '', 0])
})

const PROGRAM = `
import { Client, range, type Future } from 'plimsoll'
await using client = await Client.local({ nthreads: 4, memoryLimit: '2 GiB' })
const text: Future<string> = client.submit((x: number) => String(x), 1)
const blocks: Future<Float64Array>[] = client.map((seed: number) => new Float64Array(10).fill(seed), range(100))
const sums = client.map((block) => block.reduce((a, x) => a + x, 0), blocks)
const total = client.submit((xs: number[]) => xs.reduce((a, b) => a + b, 0), sums)
const both: [string, number] = await client.gather([text, total])
// @ts-expect-error the function takes a number
client.submit((x: number) => x, 'text')
// @ts-expect-error no such option
await Client.local({ nthread: 2 })
console.log(both)
`

it.each(['[]', '["node"]'])(
  'has types that a strict project checks, with "types": %s',
  { timeout: 60_000 },
  async (types) => {
    const others = subpaths().map((name, i) => `import * as part${i} from '${name}'\nconsole.log(part${i})\n`)
    project.write('program.ts', others.join('') + PROGRAM)
    // Without Node's types, those of browsers have AbortSignal and console.
    const lib = `["es2023", "esnext.disposable"${types === '[]' ? ', "dom"' : ''}]`
    const options = `"strict": true, "skipLibCheck": false, "exactOptionalPropertyTypes": true, "noUncheckedIndexedAccess": true, "noEmit": true`
    project.write(
      'tsconfig.json',
      `{ "compilerOptions": { ${options}, "module": "nodenext", "target": "es2022", "lib": ${lib}, "types": ${types} }, "files": ["program.ts"] }`,
    )
    const tsc = join(project.directory, 'node_modules/typescript/bin/tsc')
    const checked = promisify(execFile)(process.execPath, [tsc, '-p', project.directory])
    await expect(checked.catch((error: { stdout: string }) => error)).resolves.toMatchObject({ stdout: '' })
  },
)
