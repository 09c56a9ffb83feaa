/** The page as a whole: which page the address means, and what every page needs. */
import { useEffect, useState } from 'react';
import { CallPage } from './pages/CallPage';
import { Home } from './pages/Home';
import { joinProblem, type Problem } from './problems';
import { callPath, routeOf } from './route';
import { fetchConfig, type PageConfig } from './server';
import { Announcer } from './ui/announce';
import { Centered, Message } from './ui/Card';

export function App() {
  const [config, setConfig] = useState<PageConfig | Problem | undefined>();
  const [route, setRoute] = useState(() => routeOf(window.location));

  useEffect(() => {
    const abort = new AbortController();
    fetchConfig(abort.signal).then(setConfig, (error: unknown) => {
      if (!abort.signal.aborted) setConfig(joinProblem(error));
    });
    // A pasted invitation changes only the fragment, which loads nothing by itself.
    const follow = () => setRoute(routeOf(window.location));
    window.addEventListener('popstate', follow);
    return () => {
      abort.abort();
      window.removeEventListener('popstate', follow);
    };
  }, []);

  const open = (call: string) => {
    window.history.pushState(null, '', callPath(call));
    setRoute(routeOf(window.location));
  };

  return <Announcer>{page()}</Announcer>;

  function page() {
    if (route.page === 'missing') {
      return (
        <Message title="There is nothing here" actions={<a className="button button-primary" href="/">Start page</a>}>
          <p>Check the link: a call’s link ends in /c/ and the call’s name.</p>
        </Message>
      );
    }
    if (config === undefined) {
      return (
        <Centered>
          <p className="loading" role="status">Loading…</p>
        </Centered>
      );
    }
    if ('title' in config) {
      return (
        <Message
          title={config.title}
          actions={
            <button type="button" className="button button-primary" onClick={() => window.location.reload()}>
              Try again
            </button>
          }
        >
          <p>{config.advice}</p>
        </Message>
      );
    }
    if (route.page === 'home') return <Home config={config} onOpen={open} />;
    return <CallPage key={`${route.call}#${route.invite ?? ''}`} call={route.call} invite={route.invite} config={config} />;
  }
}
