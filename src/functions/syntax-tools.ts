// Parser and scope analysis, loaded with the first function that is captured: without them `import 'plimsoll'` takes 132
// instead of 164 ms of CPU, and processes that only run functions never need them.

import { createRequire } from 'node:module'
import type * as Acorn from 'acorn'
import type * as EslintScope from 'eslint-scope'

interface SyntaxTools {
  readonly parse: typeof Acorn.parse
  readonly analyze: typeof EslintScope.analyze
}

let tools: SyntaxTools | null = null

/** Synchronous, since functions are captured in the middle of `submit()`. To be called ahead where there is time to wait. */
export function syntaxTools(): SyntaxTools {
  if (tools === null) {
    const require = createRequire(import.meta.url)
    const { parse } = require('acorn') as typeof Acorn
    const { analyze } = require('eslint-scope') as typeof EslintScope
    tools = { parse, analyze }
  }
  return tools
}
