// `plimsoll/cluster`: clusters that belong to one program.

export type { ClusterScheduler, ClusterWorker } from './backend.ts'
export { type AdaptOptions, LocalCluster, type LocalClusterOptions } from './local-cluster.ts'
