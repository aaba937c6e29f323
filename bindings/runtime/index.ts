export type { Failpoints, FileHandle, FileStat, FileSystem, Host, LogEvent, MonoMs, TimerHandle, UnixMs, Workers, WorkerTask, World } from './world.ts'
