// The packed artifact, installed the way a user's project has it: `npm pack`, unpacked into node_modules of an empty project.
// The package's dependencies are linked from this checkout, so that no registry is needed.

import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  mkdirSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { fileURLToPath } from 'node:url'

const run = promisify(execFile)
export const ROOT = fileURLToPath(new URL('../..', import.meta.url))

export interface Project {
  /** The user's project: an empty folder with plimsoll in its node_modules. */
  readonly directory: string
  /** The executable. */
  readonly plimsoll: string
  /** Home, temporary directory and memory directory of its own: tests share nothing with the user who runs them, nor with each other. */
  readonly env: NodeJS.ProcessEnv
  /** What workers left in the temporary directory and in the RAM file system. */
  scratch(): string[]
  write(name: string, text: string): string
  remove(): void
}

/** Packs and installs; takes about a second. */
export async function installPackage(): Promise<Project> {
  const directory = mkdtempSync(join(tmpdir(), 'plimsoll-e2e-'))
  await run('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', directory], { cwd: ROOT })
  const archive = readdirSync(directory).find((name) => name.endsWith('.tgz')) as string
  const modules = join(directory, 'node_modules')
  mkdirSync(join(modules, 'plimsoll'), { recursive: true })
  await run('tar', ['-xzf', join(directory, archive), '-C', join(modules, 'plimsoll'), '--strip-components=1'])
  for (const name of readdirSync(join(ROOT, 'node_modules')))
    if (!name.startsWith('.') && name !== 'plimsoll') symlinkSync(join(ROOT, 'node_modules', name), join(modules, name))
  writeFileSync(join(directory, 'package.json'), '{ "type": "module", "private": true }\n')
  const { PLIMSOLL_TOKEN: _token, ...inherited } = process.env
  const temporary = join(directory, 'tmp')
  mkdirSync(temporary)
  const memory = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'plimsoll-e2e-'))
  return {
    directory,
    plimsoll: join(modules, 'plimsoll', 'dist', 'cli', 'main.js'),
    env: {
      ...inherited,
      HOME: directory,
      XDG_CONFIG_HOME: join(directory, '.config'),
      TMPDIR: temporary,
      PLIMSOLL_WORKER__MEMORY_DIRECTORY: memory,
      NODE_OPTIONS: '',
    },
    scratch: () =>
      [temporary, memory].flatMap((base) =>
        readdirSync(base, { recursive: true })
          .map(String)
          .filter((name) => name.startsWith('plimsoll-'))
          .map((name) => join(base, name)),
      ),
    write(name, text) {
      const path = join(directory, name)
      writeFileSync(path, text)
      return path
    },
    remove: () => [directory, memory].forEach((path) => rmSync(path, { recursive: true, force: true })),
  }
}

export interface Outcome {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** A process of a test: its output so far, lines to wait for, and its end. Always ended by `stop`, by pid. */
export class Running {
  readonly child: ChildProcess
  stdout = ''
  stderr = ''
  readonly ended: Promise<Outcome>
  readonly #listeners = new Set<() => void>()

  constructor(project: Project, args: readonly string[], env: NodeJS.ProcessEnv = {}) {
    this.child = spawn(process.execPath, args, {
      cwd: project.directory,
      env: { ...project.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.child.stdout?.on('data', (chunk: Buffer) => this.#heard('stdout', chunk))
    this.child.stderr?.on('data', (chunk: Buffer) => this.#heard('stderr', chunk))
    this.ended = once(this.child, 'close').then(([code, signal]) => {
      for (const listener of this.#listeners) listener()
      return {
        code: code as number | null,
        signal: signal as NodeJS.Signals | null,
        stdout: this.stdout,
        stderr: this.stderr,
      }
    })
  }

  get pid(): number {
    return this.child.pid as number
  }

  #heard(stream: 'stdout' | 'stderr', chunk: Buffer): void {
    this[stream] += chunk.toString()
    for (const listener of this.#listeners) listener()
  }

  /** Resolves with the match once either output contains `pattern`; rejects when the process ends before, with what it printed. */
  async printed(pattern: RegExp, timeoutMs = 20_000): Promise<RegExpExecArray> {
    return await new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => finish(() => reject(new Error(`no ${pattern} within ${timeoutMs} ms\n${this.stdout}\n${this.stderr}`))),
        timeoutMs,
      )
      const finish = (settle: () => void): void => {
        clearTimeout(timer)
        this.#listeners.delete(look)
        settle()
      }
      const look = (): void => {
        const match = pattern.exec(this.stdout) ?? pattern.exec(this.stderr)
        if (match !== null) finish(() => resolve(match))
        else if (this.child.exitCode !== null)
          finish(() =>
            reject(new Error(`ended with ${this.child.exitCode} before ${pattern}\n${this.stdout}\n${this.stderr}`)),
          )
      }
      this.#listeners.add(look)
      look()
    })
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<Outcome> {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill(signal)
    return await this.ended
  }
}

export const cli = (project: Project, args: readonly string[], env: NodeJS.ProcessEnv = {}): Running =>
  new Running(project, [project.plimsoll, ...args], env)

/** Runs `plimsoll` to its end. */
export async function runCli(project: Project, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Outcome> {
  return await cli(project, args, env).ended
}

/** Pids of all live processes below `pid`, by /proc; zombies do not count. */
export function descendantsOf(pid: number): number[] {
  const children = new Map<number, number[]>()
  for (const name of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8')
      const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      if (state === 'Z') continue
      children.set(Number(parent), [...(children.get(Number(parent)) ?? []), Number(name)])
    } catch {
      // Ended while we looked.
    }
  }
  const found: number[] = []
  const visit = (parent: number): void => {
    for (const child of children.get(parent) ?? []) {
      found.push(child)
      visit(child)
    }
  }
  visit(pid)
  return found
}

/** What a process calls itself. */
export const commandOf = (pid: number): string => readFileSync(`/proc/${pid}/cmdline`, 'utf8')

export function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2)[0] !== 'Z'
  } catch {
    return false
  }
}

/** Polls `holds` until it is true, for what no event tells (processes of others going away). @throws after `timeoutMs` */
export async function eventually(what: string, holds: () => boolean, timeoutMs = 5000): Promise<void> {
  const deadline = performance.now() + timeoutMs
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
