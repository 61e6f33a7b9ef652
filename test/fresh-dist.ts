// A test on a dist that is older than the sources proves nothing, so it is built before. Quick when there is nothing to do.

import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

export function setup(): void {
  const script = fileURLToPath(new URL('../scripts/setup.mjs', import.meta.url))
  const { status, error } = spawnSync(process.execPath, [script], { stdio: 'inherit' })
  if (status !== 0) throw new Error('dist could not be built', { cause: error })
}
