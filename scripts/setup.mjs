// Makes a checkout ready to run: checks Node, installs dependencies when the lock file changed, builds dist when sources
// changed (tsc checks and writes the declarations, bundle.mjs the JavaScript). Run before every npm script and before tests
// that run on dist, so it is quick when there is nothing to do, and may run several times at once.
//
//   node scripts/setup.mjs [--force]      --force builds from scratch
//
// Plain JavaScript without dependencies: it runs before there are any.

import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)))
const MODULES = join(ROOT, 'node_modules')
const DIST = join(ROOT, 'dist')
const INSTALL_STAMP = join(MODULES, '.plimsoll-setup')
const BUILD_STAMP = join(DIST, '.plimsoll-setup')
/** A setup takes a minute or two; a lock this old belongs to nobody. */
const STALE_LOCK_MS = 15 * 60_000
const POLL_MS = 100

function main() {
  checkNode()
  const force = process.argv.includes('--force')
  if (!force && isInstalled() && isBuilt()) return
  withLock(() => {
    if (!isInstalled()) install()
    if (force || !isBuilt()) build(force)
  })
}

function checkNode() {
  const wanted = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).engines.node
  const [major, minor] = wanted.replace('>=', '').split('.').map(Number)
  const [ownMajor, ownMinor] = process.versions.node.split('.').map(Number)
  if (ownMajor > major || (ownMajor === major && ownMinor >= minor)) return
  fail(`Plimsoll needs Node ${wanted}; this is ${process.versions.node}. Get a newer one from https://nodejs.org`)
}

// Dependencies.

function isInstalled() {
  return existsSync(MODULES) && (readText(INSTALL_STAMP) ?? adoptedStamp()) === lockDigest()
}

/** Dependencies that npm installed from this very lock file before this script was run. */
function adoptedStamp() {
  const installed = modifiedMs(join(MODULES, '.package-lock.json'))
  if (installed === null || installed < (modifiedMs(join(ROOT, 'package-lock.json')) ?? 0)) return null
  const digest = lockDigest()
  writeFileSync(INSTALL_STAMP, digest)
  return digest
}

function lockDigest() {
  return createHash('sha256')
    .update(readFileSync(join(ROOT, 'package-lock.json')))
    .digest('hex')
}

function install() {
  say('installing dependencies (npm ci)')
  const args = ['ci', '--no-audit', '--no-fund', '--loglevel=error']
  run('npm', args, 'the dependencies could not be installed (npm ci')
  writeFileSync(INSTALL_STAMP, lockDigest())
}

// Build. The stamp holds every source with time and size: additions, changes and removals all show.

function isBuilt() {
  return readText(BUILD_STAMP) === sourceList()
}

function sourceList() {
  const files = ['package.json', 'tsconfig.json', 'tsconfig.build.json', 'scripts/bundle.mjs', ...sources('src')]
  return files.map((file) => `${file} ${describe(join(ROOT, file))}`).join('\n')
}

function sources(folder) {
  const entries = readdirSync(join(ROOT, folder), { withFileTypes: true })
  entries.sort((a, b) => (a.name < b.name ? -1 : 1))
  return entries.flatMap((entry) => {
    const path = `${folder}/${entry.name}`
    if (entry.isDirectory()) return sources(path)
    return path.endsWith('.ts') && !/\.(test|conformance)\.ts$/.test(path) ? [path] : []
  })
}

function describe(path) {
  const { mtimeMs, size } = statSync(path)
  return `${mtimeMs} ${size}`
}

function build(force) {
  say('building dist')
  if (force || hasRemovedSources()) rmSync(DIST, { recursive: true, force: true })
  // Taken before: a file that changes meanwhile is built again the next time.
  const built = sourceList()
  const tsc = join(MODULES, 'typescript', 'bin', 'tsc')
  run(process.execPath, [tsc, '-p', 'tsconfig.build.json'], 'the sources do not compile (tsc')
  run(process.execPath, ['scripts/bundle.mjs'], 'the sources cannot be bundled (rolldown')
  chmodSync(join(DIST, 'cli', 'main.js'), 0o755)
  writeFileSync(BUILD_STAMP, built)
}

/** What was built from a removed source would stay in dist for ever. */
function hasRemovedSources() {
  const files = (readText(BUILD_STAMP) ?? '').split('\n').map((line) => line.split(' ')[0])
  return files.some((file) => file !== '' && !existsSync(join(ROOT, file)))
}

// One setup at a time for one checkout.

function withLock(action) {
  const id = createHash('sha256').update(ROOT).digest('hex').slice(0, 16)
  const lock = join(tmpdir(), `plimsoll-setup-${process.getuid?.() ?? 0}-${id}`)
  takeLock(lock)
  const release = () => rmSync(lock, { recursive: true, force: true })
  process.once('exit', release)
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => process.exit(1))
  action()
  process.removeListener('exit', release)
  release()
}

function takeLock(lock) {
  for (let told = false; ;) {
    try {
      mkdirSync(lock)
      writeFileSync(join(lock, 'pid'), String(process.pid))
      return
    } catch (error) {
      if (error.code !== 'EEXIST') fail(`${lock} cannot be made: ${error.message}`)
    }
    if (isStale(lock)) {
      rmSync(lock, { recursive: true, force: true })
      continue
    }
    if (!told) say(`waiting for another setup of this checkout (pid ${readText(join(lock, 'pid')) ?? 'unknown'})`)
    told = true
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, POLL_MS)
  }
}

function isStale(lock) {
  const age = Date.now() - (modifiedMs(lock) ?? Date.now())
  const pid = Number(readText(join(lock, 'pid')))
  // Without a pid it was made a moment ago, or by a process that died before it could say more.
  if (!(pid > 0)) return age > 5_000
  if (age > STALE_LOCK_MS) return true
  try {
    process.kill(pid, 0)
    return false
  } catch (error) {
    return error.code === 'ESRCH'
  }
}

// Small things.

/** `complaint` ends with an open bracket and the name of the tool. */
function run(command, args, complaint) {
  const { status, error, signal } = spawnSync(command, args, { cwd: ROOT, stdio: ['ignore', 'inherit', 'inherit'] })
  if (status === 0) return
  const how = error?.message ?? (signal === null ? `exit code ${status}` : `ended by ${signal}`)
  fail(`${complaint}: ${how})`)
}

function readText(path) {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return null
  }
}

function modifiedMs(path) {
  try {
    return statSync(path).mtimeMs
  } catch {
    return null
  }
}

function say(text) {
  process.stderr.write(`plimsoll: ${text}\n`)
}

function fail(text) {
  process.stderr.write(`plimsoll: ${text}\n`)
  process.exit(1)
}

main()
