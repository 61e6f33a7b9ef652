// Makes the JavaScript of dist (the compiler writes the declarations): the code of most modules is gathered into a few files
// in dist/chunks, since Node takes almost a millisecond for each file that it loads. Called by setup.mjs.
//
// B1. Every source has its file in dist: an entry holds its own code, any other exports from a chunk what it exports. So
//     whatever path a program or a test imports, it gets the same classes and the same state.
// B2. A chunk is a union of layers (see ARCHITECTURE.md), so chunks import each other downwards only, like the folders.
// B3. A reference to a file beside the source, `new URL('./main.js', import.meta.url)`, finds it from wherever the code ended up.
// B4. Packages stay imports, what is imported dynamically stays lazy, names of functions and classes stay as they are.
// B5. A file that would not change is not touched; one that no source makes any more is removed.

import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, posix, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { rolldown } from 'rolldown'

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)))
const SOURCES = join(ROOT, 'src')
const DIST = join(ROOT, 'dist')

/** From the bottom up; a module goes into the first that matches, and is a file of its own otherwise, as entries and CLI actions are. */
const CHUNKS = [
  { name: 'launch', test: /src\/(worker\/executor\/launch|nanny\/child|base\/extra-certificates)/ },
  { name: 'base', test: /src\/(base|errors|protocol|graph|values|functions|native)\/|src\/http\/address/ },
  { name: 'runner', test: /src\/runner\// },
  { name: 'rpc', test: /src\/(comm|rpc|http|config|diagnostics)\/|src\/nanny\/env|src\/cluster\/helper-messages/ },
  { name: 'client', test: /src\/client\/|src\/cluster\/(local-|options|adapt-options|data-option|helper-process)/ },
  { name: 'scheduler', test: /src\/scheduler\// },
  { name: 'store', test: /src\/store\// },
  { name: 'worker', test: /src\/worker\/(?!main|worker-process)/ },
  { name: 'nanny', test: /src\/nanny\/|src\/cluster\/nanny-cluster/ },
  { name: 'scaling', test: /src\/cluster\/(adaptive|scaling|scheduler-questions)/ },
  { name: 'executor', test: /src\/executor\/(?!main)/ },
  { name: 'cli', test: /src\/cli\/(?!main|actions)/ },
]

function sources() {
  return readdirSync(SOURCES, { recursive: true })
    .filter((path) => path.endsWith('.ts') && !/\.(test|conformance)\.ts$/.test(path))
    .map((path) => path.split('\\').join('/').replace(/\.ts$/, ''))
}

const PLACE = 'dist-place:'

/** B3: the place is written down while the source is known, and turned into a path once the file is. */
const places = {
  name: 'places',
  transform(code, id) {
    if (!code.includes('import.meta.url')) return null
    const folder = posix.dirname(posix.join('/', relative(SOURCES, id).split('\\').join('/')))
    return code.replaceAll(
      /new URL\('(\.{1,2}\/[^']*)', import\.meta\.url\)/g,
      (_, path) => `new URL('${PLACE}${relative('/', posix.join('/dist', folder, path))}', import.meta.url)`,
    )
  },
  renderChunk(code, chunk) {
    if (!code.includes(PLACE)) return null
    return code.replaceAll(new RegExp(`${PLACE}([^"'\`]*)`, 'g'), (_, place) => {
      const path = posix.relative(posix.dirname(`dist/${chunk.fileName}`), place)
      return path.startsWith('.') ? path : `./${path}`
    })
  },
}

async function generate() {
  const entries = sources()
  const bundle = await rolldown({
    cwd: ROOT,
    input: Object.fromEntries(entries.map((entry) => [entry, `src/${entry}.ts`])),
    platform: 'node',
    external: /^[^./]/,
    plugins: [places],
    // What groups without their dependencies ask for: an entry may export more than it should, which the tests would see.
    preserveEntrySignatures: 'allow-extension',
    onLog: (level, log) => {
      if (level === 'warn') throw new Error(log.message)
    },
  })
  const { output } = await bundle.generate({
    format: 'esm',
    entryFileNames: '[name].js',
    chunkFileNames: 'chunks/[name].js',
    minifyInternalExports: false,
    keepNames: true,
    comments: { jsdoc: false },
    // A chunk holds what its pattern says and nothing that somebody happens to import: then chunks follow the layers (B2).
    codeSplitting: {
      includeDependenciesRecursively: false,
      groups: CHUNKS.map((chunk, i) => ({ ...chunk, priority: CHUNKS.length - i })),
    },
  })
  await bundle.close()
  return new Map(output.map((file) => [file.fileName, file.code]))
}

/** B3: a reference to a file that is not there would only be noticed when a process is started. */
function checkPlaces(files) {
  for (const [name, code] of files)
    for (const [, path] of code.matchAll(/new URL\("(\.{1,2}\/[^"]*)", import\.meta\.url\)/g)) {
      const target = posix.join(posix.dirname(name), path)
      if (files.has(target) || existsSync(join(DIST, target))) continue
      throw new Error(`dist/${name} refers to ${path}, which is not there`)
    }
}

function write(files) {
  for (const [name, code] of files) {
    const path = join(DIST, name)
    if (existsSync(path) && readFileSync(path, 'utf8') === code) continue
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, code)
  }
  for (const path of readdirSync(DIST, { recursive: true }))
    if (path.endsWith('.js') && !files.has(path.split('\\').join('/'))) rmSync(join(DIST, path))
}

try {
  const files = await generate()
  checkPlaces(files)
  write(files)
} catch (error) {
  process.stderr.write(`${error.message}\n`)
  process.exit(1)
}
