import {
  type Client,
  type DataContainer,
  type DataFactory,
  fromModule,
  LocalCluster,
  type Future,
} from '../../src/index.ts'
import { typeOf } from './expect.ts'

// What may be a store.
new LocalCluster({ inProcess: true, data: new Map<string, Uint8Array>() })
new LocalCluster({ data: () => new Map() })
new LocalCluster({ data: async ({ workerLocalDirectory }) => open(workerLocalDirectory) })
new LocalCluster({ data: [({ size }: { size: number }) => open(String(size)), { size: 1 }] })
new LocalCluster({ data: [fromModule<DataFactory<{ size: number }>>('file:///open.js', 'open'), { size: 1 }] })
// @ts-expect-error a text is none
new LocalCluster({ data: 'somewhere' })
// @ts-expect-error it has no `set`
new LocalCluster({ data: { size: 0, get: () => undefined, has: () => false, delete: () => true } })

declare function open(path: string): DataContainer

// Datasets.
export async function datasets(client: Client): Promise<void> {
  await client.publishDataset('name', { total: client.submit((x: number) => x, 1) }, { override: true })
  const found = await client.getDataset<{ readonly total: Future<number> }>('name')
  typeOf(await found.total.result())<number>()
  typeOf(await client.getDataset('name'))<unknown>()
  typeOf(await client.listDatasets())<string[]>()
  await client.unpublishDataset('name')
}
