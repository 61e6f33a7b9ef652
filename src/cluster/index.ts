// `plimsoll/cluster`: clusters that belong to one program.

export type { ClusterScheduler, ClusterWorker } from './backend.ts'
export { LocalCluster, type LocalClusterOptions } from './local-cluster.ts'
