// Reading the flight records: 3 million domestic flights of 2001 in one Parquet file of the npm package vega-datasets.

import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { PlimsollError } from '../../errors/plimsoll-error.ts'

const FILE_NAME = 'flights-3m.parquet'
const EPOCH_MS = Date.UTC(2001, 0, 1)

/** Columns of one row group; airports are numbers into `airports`. */
export interface FlightColumns {
  /** Minutes since 2001-01-01T00:00, local time. */
  readonly minute: Int32Array
  /** Minutes; negative when early. */
  readonly delay: Int16Array
  /** Miles. */
  readonly distance: Int16Array
  readonly origin: Uint16Array
  readonly destination: Uint16Array
  readonly airports: readonly string[]
}

/** What the reader needs of hyparquet; both packages are looked up at run time, since only this demo uses them. */
interface Hyparquet {
  asyncBufferFromFile(path: string): Promise<unknown>
  parquetMetadataAsync(file: unknown): Promise<{ readonly row_groups: readonly { readonly num_rows: bigint }[] }>
  parquetRead(options: object): Promise<void>
}

async function load(specifier: string): Promise<Record<string, unknown>> {
  const locations = [import.meta.url, pathToFileURL(join(process.cwd(), 'x.js')).href]
  for (const location of locations) {
    try {
      const path = createRequire(location).resolve(specifier)
      return (await import(pathToFileURL(path).href)) as Record<string, unknown>
    } catch {
      // Looked up in the next place; when no place has it, the error below says what to install.
    }
  }
  throw missingPackage(specifier)
}

function missingPackage(specifier: string): PlimsollError {
  return new PlimsollError(
    'INVALID_ARGUMENT',
    `the flights demo reads its data with the package "${specifier}", which is not installed: npm install vega-datasets hyparquet hyparquet-compressors`,
    { package: specifier },
  )
}

/** Path of the Parquet file. @throws INVALID_ARGUMENT when its package is not installed. */
export function findFlightRecords(): string {
  for (const location of [import.meta.url, pathToFileURL(join(process.cwd(), 'x.js')).href]) {
    for (const base of createRequire(location).resolve.paths('vega-datasets') ?? []) {
      const path = join(base, 'vega-datasets', 'data', FILE_NAME)
      if (existsSync(path)) return path
    }
  }
  throw missingPackage('vega-datasets')
}

/** Rows of each row group, in order. */
export async function rowGroupSizes(path: string): Promise<number[]> {
  const parquet = (await load('hyparquet')) as unknown as Hyparquet
  const metadata = await parquet.parquetMetadataAsync(await parquet.asyncBufferFromFile(path))
  return metadata.row_groups.map((group) => Number(group.num_rows))
}

/** Reads the rows [`rowStart`, `rowEnd`) of the file into compact columns. */
export async function readFlights(path: string, rowStart: number, rowEnd: number): Promise<FlightColumns> {
  const parquet = (await load('hyparquet')) as unknown as Hyparquet
  const { compressors } = await load('hyparquet-compressors')
  const size = rowEnd - rowStart
  const columns = {
    minute: new Int32Array(size),
    delay: new Int16Array(size),
    distance: new Int16Array(size),
    origin: new Uint16Array(size),
    destination: new Uint16Array(size),
  }
  const airports = new Map<string, number>()
  const numberOf = (code: string): number => {
    const known = airports.get(code)
    if (known !== undefined) return known
    airports.set(code, airports.size)
    return airports.size - 1
  }
  const convert: Readonly<Record<string, (index: number, value: unknown) => void>> = {
    date: (index, value) => (columns.minute[index] = Math.floor(((value as Date).getTime() - EPOCH_MS) / 60_000)),
    delay: (index, value) => (columns.delay[index] = Number(value)),
    distance: (index, value) => (columns.distance[index] = Number(value)),
    origin: (index, value) => (columns.origin[index] = numberOf(value as string)),
    destination: (index, value) => (columns.destination[index] = numberOf(value as string)),
  }
  const onChunk = (chunk: {
    columnName: string
    columnData: ArrayLike<unknown>
    rowStart: number
    rowEnd: number
  }): void => {
    const put = convert[chunk.columnName]
    if (put === undefined) return
    const from = Math.max(chunk.rowStart, rowStart)
    const to = Math.min(chunk.rowEnd, rowEnd)
    for (let row = from; row < to; row++) put(row - rowStart, chunk.columnData[row - chunk.rowStart])
  }
  const file = await parquet.asyncBufferFromFile(path)
  await parquet.parquetRead({ file, compressors, rowStart, rowEnd, onChunk })
  return { ...columns, airports: [...airports.keys()] }
}
