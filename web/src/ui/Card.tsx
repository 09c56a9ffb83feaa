/** The calm middle of the page: one card with one thing to do. */
import type { ReactNode } from 'react';

export function Centered({ children, wide }: { children: ReactNode; wide?: boolean }) {
  return (
    <div className="centered">
      <a className="brand" href="/" aria-label="Calls: start page">
        <img src="/favicon.svg" alt="" width={28} height={28} />
        <span>Calls</span>
      </a>
      <main className={wide ? 'card card-wide' : 'card'}>{children}</main>
    </div>
  );
}

/** A title, what to do, and where to go from here. */
export function Message({ title, children, actions }: { title: string; children: ReactNode; actions?: ReactNode }) {
  return (
    <Centered>
      <h1>{title}</h1>
      <div className="prose" role="alert">
        {children}
      </div>
      {actions !== undefined && <div className="actions">{actions}</div>}
    </Centered>
  );
}
