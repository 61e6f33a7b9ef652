// Configuration files: where they are looked for, and what one says. YAML 1.2 (JSON is a part of it). The parser is
// loaded only when there is a file: it costs more than the rest of the configuration together.

import { readdirSync, readFileSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { homedir } from 'node:os'
import { join } from 'node:path'
import type * as Yaml from 'yaml'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import { isMapping, type Setting, settingsOf } from './settings.ts'
import type { ConfigSource } from './source.ts'

const FILE_NAME = /\.(ya?ml|json)$/

type Environment = Readonly<Record<string, string | undefined>>

/** The files that apply, least important first: /etc/plimsoll, ~/.config/plimsoll, then $PLIMSOLL_CONFIG. */
export function configFiles(env: Environment): string[] {
  return [...standardFolders(env).flatMap(filesIn), ...namedFiles(env)]
}

/** The places that are looked at, in rising precedence: each file, or the pattern where there is none. */
export function configPaths(env: Environment = process.env): { readonly path: string; readonly exists: boolean }[] {
  const standard = standardFolders(env).flatMap((folder) => {
    const files = filesIn(folder)
    return files.length === 0
      ? [{ path: join(folder, '*.yaml'), exists: false }]
      : files.map((path) => ({ path, exists: true }))
  })
  return [...standard, ...namedFiles(env).map((path) => ({ path, exists: true }))]
}

/**
 * The settings of one file. A file that may not be read counts as empty, like one that is not there.
 * @throws PlimsollError CONFIG_INVALID with line and column when it is no YAML mapping of known keys.
 */
export function readConfigFile(path: string): Setting[] {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if (['ENOENT', 'EACCES', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '')) return []
    throw new PlimsollError(
      'CONFIG_INVALID',
      `${path}: cannot be read: ${(error as Error).message}`,
      { source: path },
      { cause: error },
    )
  }
  const { parseDocument, LineCounter, isMap, isScalar } = yaml()
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, version: '1.2' })
  const broken = document.errors[0]
  if (broken !== undefined) {
    const at = lines.linePos(broken.pos[0])
    throw new PlimsollError('CONFIG_INVALID', `${path}:${at.line}:${at.col}: not valid YAML: ${broken.message}`, {
      source: path,
    })
  }
  const tree: unknown = document.toJS()
  if (tree === null || tree === undefined) return []
  if (!isMapping(tree)) {
    const message = `${path}:1:1: a configuration file holds a mapping of keys, such as "worker: {memory: {target: 0.6}}"`
    throw new PlimsollError('CONFIG_INVALID', message, { source: path })
  }
  const sourceOf = (keyPath: readonly string[]): ConfigSource => {
    const parent = keyPath.length === 1 ? document.contents : document.getIn(keyPath.slice(0, -1), true)
    const pair = isMap(parent)
      ? parent.items.find((item) => isScalar(item.key) && String(item.key.value) === keyPath.at(-1))
      : undefined
    const at =
      pair !== undefined && isScalar(pair.key) && pair.key.range
        ? lines.linePos(pair.key.range[0])
        : { line: 1, col: 1 }
    return { kind: 'file', path, line: at.line, column: at.col }
  }
  return settingsOf(tree, sourceOf)
}

/** The parser of YAML values inside environment variables, such as `{GPU: 1}`. */
export function parseYamlValue(text: string): unknown {
  return yaml().parse(text)
}

function standardFolders(env: Environment): string[] {
  const home = env['XDG_CONFIG_HOME'] || join(env['HOME'] || homedir(), '.config')
  return ['/etc/plimsoll', join(home, 'plimsoll')]
}

function namedFiles(env: Environment): string[] {
  const path = env['PLIMSOLL_CONFIG']
  if (path === undefined || path === '') return []
  try {
    return statSync(path).isDirectory() ? filesIn(path) : [path]
  } catch (error) {
    const message = `environment variable PLIMSOLL_CONFIG names ${path}, which is not there; give a file or a folder, or unset it`
    throw new PlimsollError('CONFIG_INVALID', message, { source: 'PLIMSOLL_CONFIG', path }, { cause: error })
  }
}

function filesIn(folder: string): string[] {
  try {
    const names = readdirSync(folder).filter((name) => FILE_NAME.test(name))
    return names.sort().map((name) => join(folder, name))
  } catch {
    return [] // Not there, not a folder, or not ours to read: no files.
  }
}

function yaml(): typeof Yaml {
  return createRequire(import.meta.url)('yaml') as typeof Yaml
}
