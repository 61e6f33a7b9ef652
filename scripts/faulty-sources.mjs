// The simulator with one line of the sources changed: bundled into a file of its own, the sources stay as they are.

import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { rolldown } from 'rolldown'

export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)))

/** @typedef {{ file: string, find: string, replace: string }} Fault  one line, or a few: `find` is in the file exactly once */

/** Where bundles are written, until `remove`. */
export class Bundles {
  #folder = mkdtempSync(join(tmpdir(), 'plimsoll-sabotage-'))
  #count = 0

  constructor() {
    // Packages are found from there as from the sources.
    symlinkSync(join(ROOT, 'node_modules'), join(this.#folder, 'node_modules'))
  }

  /** The path of the bundle of this module, with the fault, if any. */
  async make(entry, /** @type {Fault | null} */ fault = null) {
    let isApplied = fault === null
    const place = fault === null ? '' : join(ROOT, fault.file)
    const bundle = await rolldown({
      cwd: ROOT,
      input: entry,
      platform: 'node',
      external: /^[^./]/,
      plugins: [
        {
          name: 'fault',
          load(id) {
            if (id !== place) return null
            isApplied = true
            return { code: withFault(readFileSync(id, 'utf8'), fault), moduleType: 'ts' }
          },
        },
      ],
    })
    const folder = join(this.#folder, `${this.#count++}`)
    mkdirSync(folder)
    const file = join(folder, 'bundle.mjs')
    try {
      await bundle.write({ file, format: 'esm', keepNames: true })
    } finally {
      await bundle.close()
    }
    if (!isApplied) throw new Error(`${fault.file} is no part of the simulator`)
    return file
  }

  remove() {
    rmSync(this.#folder, { recursive: true, force: true })
  }
}

function withFault(text, { file, find, replace }) {
  if (text.split(find).length !== 2) throw new Error(`${file} does not have exactly one\n${find}\nAdapt the fault.`)
  return text.replace(find, () => replace)
}
