/** What the server is asked, and what it answers (docs/serving.md). */

export type Kind = "dense" | "sparse" | "multi";
export interface CollectionInfo { name: string; n_documents: number; kinds: string[]; model: string; writable: boolean }
export interface ModelInfo {
  id: string;
  qianru?: { family?: string; kinds?: string[]; on_request?: string[]; dim?: number | null; max_tokens?: number | null; role?: string };
}
export interface Document { id: string; text: string; fields?: Record<string, unknown> }
export interface Hit extends Document {
  score: number;
  scores: Record<string, number>;
  ranks: Record<string, number>;
  highlights?: [number, number][];
}
export interface Found { query: string; hits: Hit[]; took_ms: number }
export interface Explanation {
  scores: Record<string, number>;
  terms: [string, number][];
  snippet: [number, number];
  alignment?: [string, string, number][];
}
export interface Alignment { query_tokens: string[]; passage_tokens: string[]; matrix: number[][]; best: number[]; score: number }
export interface MapData { points: string; clusters: string; ids: string[]; titles: string[]; labels: MapLabel[]; n_documents: number }
export interface MapLabel { cluster: number; words: string[]; x: number; y: number; size: number }
export interface Passage { number: number; id: string; text: string; source?: string | null; line?: number | null }
export interface Citation { number: number; start: number; end: number; resolved: boolean }

/** An answer that was begun and never finished. */
export const BROKEN = -1;

/** What went wrong, in the server's words; status 0 if it could not be reached. */
export class Refused extends Error {
  constructor(message: string, readonly status: number) {
    super(message);
  }
}

const KEY = "qianru-key";
let askForKey: () => Promise<string | null> = async () => null;

/** Says who asks the reader for a key. */
export function onLocked(ask: () => Promise<string | null>): void {
  askForKey = ask;
}

/** The response, once it is a good one; a reader who has no key yet is asked for it. */
export async function send(path: string, init: RequestInit = {}): Promise<Response> {
  for (;;) {
    const headers = new Headers(init.headers);
    const key = sessionStorage.getItem(KEY);
    if (key) headers.set("Authorization", `Bearer ${key}`);
    let response: Response;
    try {
      response = await fetch(new URL(`../${path}`, document.baseURI), { ...init, headers });
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") throw error;
      throw new Refused("", 0);
    }
    if (response.ok) return response;
    if (response.status === 401) {
      const given = await askForKey();
      if (given) {
        sessionStorage.setItem(KEY, given);
        continue;
      }
    }
    throw new Refused(await reason(response), response.status);
  }
}

async function reason(response: Response): Promise<string> {
  const text = await response.text();
  try {
    const told = JSON.parse(text) as { error?: { message?: string } | string; detail?: unknown; message?: string };
    if (typeof told.error === "object" && told.error.message) return told.error.message;
    return told.message ?? (typeof told.error === "string" ? told.error : JSON.stringify(told.detail ?? told));
  } catch {
    return text.slice(0, 300) || response.statusText;
  }
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await (await send(path, signal ? { signal } : {})).json()) as T;
}

export async function post<T>(path: string, body: unknown, signal?: AbortSignal): Promise<T> {
  return (await (await send(path, posted(body, signal))).json()) as T;
}

export function posted(body: unknown, signal?: AbortSignal): RequestInit {
  const init: RequestInit = { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
  return signal ? { ...init, signal } : init;
}

export const collectionPath = (name: string): string => `collections/${encodeURIComponent(name)}`;

export function search(name: string, query: string, k: number, more: object = {}, signal?: AbortSignal): Promise<Found> {
  const asked = post<{ results: Found[]; took_ms?: number }>(`${collectionPath(name)}/search`, { query, k, ...more }, signal);
  return asked.then((answer) => {
    const found = answer.results[0] ?? { query, hits: [], took_ms: 0 };
    return { ...found, took_ms: found.took_ms ?? answer.took_ms ?? 0 };
  });
}

let collections: Promise<CollectionInfo[]> | undefined;
let models: Promise<ModelInfo[]> | undefined;

/** All collections; asked once, and again where asking has failed. */
export function allCollections(): Promise<CollectionInfo[]> {
  collections ??= get<{ collections: CollectionInfo[] }>("collections").then((answer) => answer.collections);
  collections.catch(() => (collections = undefined));
  return collections;
}

/** All models, rerankers among them. */
export function allModels(): Promise<ModelInfo[]> {
  models ??= get<{ data: ModelInfo[] }>("v1/models").then((answer) => answer.data);
  models.catch(() => (models = undefined));
  return models;
}

export const isReranker = (model: ModelInfo): boolean => model.qianru?.role === "reranker";

/** Whether a model makes vectors of tokens, which can be set beside one another. */
export const aligns = ({ qianru }: ModelInfo): boolean => qianru?.role !== "reranker"
  && [...(qianru?.kinds ?? []), ...(qianru?.on_request ?? [])].some((kind) => kind === "multi" || kind === "tokens");
