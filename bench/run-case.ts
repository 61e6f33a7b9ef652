// The program behind every Plimsoll sample: runs one case once, in a process of its own, and prints its figures as the last
// line of its output. The request is the only argument, as JSON.

import type { SampleRequest } from './case.ts'
import { selectCases } from './cases/index.ts'

const request = JSON.parse(process.argv[2] ?? '') as SampleRequest
const [bench] = selectCases([request.case])
if (bench === undefined) throw new Error(`no case ${request.case}`)
const figures = await bench.run(request)
console.log(JSON.stringify(figures))
