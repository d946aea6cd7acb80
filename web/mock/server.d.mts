import type { Server } from 'node:http';
export function makeServer(): Server;
