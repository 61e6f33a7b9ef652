// The structure of the project as tests: layers, sizes, what cores may not touch, what must not be left behind, and that the
// documents name exactly what the code has. ARCHITECTURE.md explains the layers.

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { ERROR_CODES } from '../src/errors/codes.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const SOURCE_LINES_MAX = 600
const TEST_LINES_MAX = 900

/** Folders by layer; a folder may import lower layers and itself. Longest match wins. */
const LAYERS: Readonly<Record<string, number>> = {
  base: 0,
  errors: 1,
  config: 2,
  graph: 2,
  native: 2,
  protocol: 2,
  values: 3,
  functions: 3,
  comm: 4,
  store: 4,
  'scheduler/core': 4,
  'worker/core': 4,
  'client/core': 4,
  http: 5,
  rpc: 5,
  runner: 5,
  diagnostics: 5,
  scheduler: 6,
  worker: 6,
  executor: 6,
  client: 6,
  nanny: 7,
  cluster: 8,
  testing: 8,
  demo: 9,
  cli: 10,
  'index.ts': 10,
}
/** What the pure cores may import. */
const CORE_MAY_IMPORT = ['base', 'errors', 'graph', 'protocol']
const ROLES = ['scheduler', 'worker', 'executor', 'client']
/** Imports that a layer table cannot express, each with its reason. */
const ALLOWED: ReadonlySet<string> = new Set([])

interface SourceFile {
  readonly path: string
  readonly text: string
  readonly lines: readonly string[]
}

function listFiles(folder: string): string[] {
  if (!existsSync(folder)) return []
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)))
    .filter((path) => !/(^|\/)(node_modules|\.venv)\//.test(path))
    .toSorted()
}

function read(path: string): SourceFile {
  const text = readFileSync(join(ROOT, path), 'utf8')
  return { path, text, lines: text.split('\n') }
}

const isTest = (path: string): boolean => /\.(test|conformance|test-d)\.ts$/.test(path) || path.startsWith('test/')
const all = ['src', 'test', 'examples', 'bench'].flatMap((folder) => listFiles(join(ROOT, folder))).map(read)
const sources = all.filter((file) => file.path.startsWith('src/') && !isTest(file.path))

function folderOf(path: string): string {
  const inside = path.slice('src/'.length)
  const known = Object.keys(LAYERS).filter((folder) => inside === folder || inside.startsWith(`${folder}/`))
  return known.toSorted((a, b) => b.length - a.length)[0] ?? inside
}

function importsOf(file: SourceFile): { specifier: string; target: string | null }[] {
  const found = [
    ...file.text.matchAll(
      /(?:^|\n)\s*(?:import|export)\s[^'";]*?from\s+'([^']+)'|import\(\s*'([^']+)'\s*\)|(?:^|\n)import\s+'([^']+)'/g,
    ),
  ]
  return found.map((match) => {
    const specifier = (match[1] ?? match[2] ?? match[3]) as string
    const target = specifier.startsWith('.') ? relative(ROOT, resolve(ROOT, dirname(file.path), specifier)) : null
    return { specifier, target }
  })
}

describe('layers', () => {
  it('knows every folder of src', () => {
    const unknown = sources.map((file) => folderOf(file.path)).filter((folder) => LAYERS[folder] === undefined)
    expect([...new Set(unknown)]).toEqual([])
  })

  it('imports point downwards, and roles meet only in the protocol', () => {
    const wrong: string[] = []
    for (const file of sources) {
      const from = folderOf(file.path)
      for (const { target } of importsOf(file)) {
        if (target === null || ALLOWED.has(`${file.path} -> ${target}`)) continue
        const to = folderOf(target)
        const [fromRole, toRole] = [from.split('/')[0] as string, to.split('/')[0] as string]
        const upwards = to !== from && (LAYERS[to] ?? Infinity) >= (LAYERS[from] ?? -1) && fromRole !== toRole
        const acrossRoles = ROLES.includes(fromRole) && ROLES.includes(toRole) && fromRole !== toRole
        if (upwards || acrossRoles) wrong.push(`${file.path} -> ${target}`)
      }
    }
    expect(wrong).toEqual([])
  })

  it('keeps the cores pure: only base, errors, graph and protocol, nothing of node, no clock, no randomness, nothing async', () => {
    const wrong: string[] = []
    const banned =
      /\b(async|await|Promise|setTimeout|setInterval|setImmediate|queueMicrotask)\b|\b(process|performance)\.|Math\.random|Date\.now|new Date|console\./
    for (const file of sources.filter(({ path }) => /\/core\/|nanny\/core\.ts$/.test(path))) {
      for (const { specifier, target } of importsOf(file)) {
        const inside =
          target !== null && (folderOf(target) === folderOf(file.path) || target.startsWith(`${dirname(file.path)}/`))
        if (target === null || (!inside && !CORE_MAY_IMPORT.includes(folderOf(target))))
          wrong.push(`${file.path} imports ${specifier}`)
      }
      file.lines.forEach((line, i) => {
        const code = line.replace(/\/\/.*|^\s*\*.*|\/\*.*\*\//, '').replace(/'[^']*'|`[^`]*`/g, "''")
        if (banned.test(code)) wrong.push(`${file.path}:${i + 1} ${line.trim()}`)
      })
    }
    expect(wrong).toEqual([])
  })
})

describe('files', () => {
  it('stay within their size', () => {
    const long = all.filter((file) => file.lines.length > (isTest(file.path) ? TEST_LINES_MAX : SOURCE_LINES_MAX))
    expect(long.map((file) => `${file.path}: ${file.lines.length} lines`)).toEqual([])
  })

  it('are named in kebab-case for what is in them', () => {
    const wrong = all.filter(
      ({ path }) =>
        !/^[a-z0-9./-]+$/.test(path) ||
        /(^|\/)(utils?|helpers?|types|common|misc)(\.ts|\/)/.test(path.replace(/^test\/types\//, '')),
    )
    expect(wrong.map((file) => file.path)).toEqual([])
  })

  it('leave nothing behind: no open ends, no focused or skipped tests, no any', () => {
    const words = ['TO' + 'DO', 'FIX' + 'ME', 'X' + 'XX'].map((word) => `\\b${word}\\b`).join('|')
    // A test that a machine cannot run says what it needs; any other skipped test was forgotten.
    const marks = new RegExp(
      `${words}|\\.only\\(|(?:it|test|describe)\\.skip\\((?!['\`].*needs)|^[^/*]*(?:: any\\b|as any\\b|<any>)`,
    )
    const wrong = all.flatMap((file) =>
      file.lines.flatMap((line, i) =>
        marks.test(line) && !file.path.endsWith('tidy.test.ts') ? [`${file.path}:${i + 1} ${line.trim()}`] : [],
      ),
    )
    expect(wrong).toEqual([])
  })

  it('are all used: every source file is imported by another one or is an entry', () => {
    const manifest = readFileSync(join(ROOT, 'package.json'), 'utf8')
    const entries = new Set([...manifest.matchAll(/\.\/dist\/([\w/-]+)\.js/g)].map((match) => `src/${match[1]}.ts`))
    const named = new Set(
      all.flatMap((file) => importsOf(file).flatMap(({ target }) => (target === null ? [] : [target]))),
    )
    for (const file of all)
      for (const match of file.text.matchAll(/'([./\w-]+)\.js'/g))
        named.add(relative(ROOT, resolve(ROOT, dirname(file.path), `${match[1]}.ts`)))
    const dead = sources.filter(({ path }) => !entries.has(path) && !named.has(path))
    expect(dead.map((file) => file.path)).toEqual([])
  })
})

describe('documents', () => {
  it('docs/errors.md has one heading per code of the registry, and no other', () => {
    const headings = [...readFileSync(join(ROOT, 'docs/errors.md'), 'utf8').matchAll(/^### `?([A-Z_]+)`?$/gm)].map(
      (match) => match[1] as string,
    )
    expect(headings.toSorted()).toEqual(Object.keys(ERROR_CODES).toSorted())
  })

  it('docs/protocol.md names every message and request of the wire, and no other', () => {
    // message-rows.ts says how messages are packed, not which there are.
    const vocabulary = listFiles(join(ROOT, 'src/protocol')).filter(
      (path) => !isTest(path) && !path.endsWith('message-rows.ts'),
    )
    const ops = vocabulary.flatMap((path) => [
      ...[...read(path).text.matchAll(/readonly op: '([a-z-]+)'/g)].map((match) => match[1] as string),
      ...[...read(path).text.matchAll(/^ {2}'?([a-z-]+)'?: \[/gm)].map((match) => match[1] as string),
    ])
    const documented = [...readFileSync(join(ROOT, 'docs/protocol.md'), 'utf8').matchAll(/^\| `([a-z-]+)` \|/gm)].map(
      (match) => match[1] as string,
    )
    expect([...new Set(documented)].toSorted()).toEqual([...new Set(ops)].toSorted())
  })

  it('has no link to a file that is not there', () => {
    const pages = [
      'README.md',
      'ARCHITECTURE.md',
      'CONTRIBUTING.md',
      ...readdirSync(join(ROOT, 'docs')).map((name) => `docs/${name}`),
    ]
    const broken = pages.flatMap((page) =>
      [...readFileSync(join(ROOT, page), 'utf8').matchAll(/\]\((?!https?:|#)([^)#]+)[^)]*\)/g)]
        .map((match) => match[1] as string)
        .filter((link) => !existsSync(join(ROOT, dirname(page), link)))
        .map((link) => `${page}: ${link}`),
    )
    expect(broken).toEqual([])
  })
})
