// Package console is the control plane's web console: pages rendered on the
// server without a build step, and a small script that refreshes them.
//
// Everything goes through cloud.Service, which checks the role, so the console
// can do nothing that the API cannot. Texts from atoms, packages and callers
// are shown as text, never as markup.
package console

import (
	"errors"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"valence/cloud"
)

// Options configure a console.
type Options struct {
	Service *cloud.Service
	Version string // of the program
	Log     *slog.Logger
}

type console struct {
	Options
	pages  map[string]*pageTemplate
	assets assets
	origin *http.CrossOriginProtection
	fleets fleets

	drawings drawings
}

// Limits of request bodies.
const (
	maxForm     = 256 << 10
	maxDocument = 24 << 20 // a form with a document of 8 MiB as text
)

// New returns the handler of every path that no other handler serves.
func New(o Options) http.Handler {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &console{Options: o, pages: parsePages(), assets: readAssets(), origin: http.NewCrossOriginProtection(), drawings: drawings{slot: make(chan struct{}, 1)}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /static/{hash}/{file}", c.static)
	mux.HandleFunc("GET /favicon.ico", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, c.assets.path("icon.svg"), http.StatusFound)
	})
	mux.HandleFunc("GET /signin", c.signInPage)
	mux.HandleFunc("POST /signin", c.signIn)
	mux.HandleFunc("POST /signout", c.signOut)
	for _, route := range c.routes() {
		mux.Handle(route.method+" "+route.path, c.known(route))
	}
	mux.Handle("/", c.known(route{http.MethodGet, "/", "", func(*visit) (*answer, error) {
		return nil, &cloud.Error{Kind: cloud.ErrNotFound, Text: "no such page"}
	}}))
	return c.secured(mux)
}

// secured sets headers that prevent caching and framing, and that let only the
// program's own files run or load.
func (c *console) secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "+
			"form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// route is one page or action of the console. Its action, and so its least role,
// is checked before it is served. The service checks again with the environment
// concerned. "" allows everyone who is signed in.
type route struct {
	method, path string
	action       cloud.Action
	serve        func(*visit) (*answer, error)
}

func (c *console) routes() []route {
	const get, post = http.MethodGet, http.MethodPost
	return []route{
		{get, "/{$}", "atom.read", c.overview},
		{get, "/atoms/{id}", "atom.read", c.atom},
		{post, "/atoms/{id}/log", "atom.log", c.atomLog},
		{post, "/atoms/{id}/listener", "listener.update", c.listener},
		{post, "/atoms/{id}/rename", "atom.update", c.renameAtom},
		{post, "/atoms/{id}/attach", "attachment.create", c.attach},
		{get, "/atoms/{id}/detach", "attachment.delete", c.askDetach},
		{post, "/atoms/{id}/detach", "attachment.delete", c.detach},
		{get, "/atoms/{id}/retire", "atom.delete", c.askRetire},
		{post, "/atoms/{id}/retire", "atom.delete", c.retire},
		{get, "/atoms/{id}/revoke", "atom.delete", c.askRevoke},
		{post, "/atoms/{id}/revoke", "atom.delete", c.revoke},

		{get, "/environments", "environment.read", c.environments},
		{post, "/environments", "environment.create", c.createEnvironment},
		{get, "/environments/{id}", "environment.read", c.environment},
		{post, "/environments/{id}/policy", "environment.update", c.setPolicy},
		{post, "/environments/{id}/fields", "extension.update", c.setField},
		{get, "/environments/{id}/fields", "extension.update", c.askRemoveField},
		{get, "/environments/{id}/delete", "environment.delete", c.askDeleteEnvironment},
		{post, "/environments/{id}/delete", "environment.delete", c.deleteEnvironment},

		{get, "/listeners", "listener.read", c.listeners},
		{get, "/listeners/change", "listener.update", c.askListeners},
		{post, "/listeners", "listener.update", c.changeListeners},

		{get, "/deploy", "deployment.create", c.askDeploy},
		{post, "/deploy", "deployment.create", c.deploy},
		{get, "/packages/{id}/process", "package.download", c.process},
		{get, "/packages/{id}/drawing", "package.download", c.drawing},
		{get, "/deployments/{id}", "deployment.read", c.deployment},
		{get, "/deployments/{id}/undeploy", "deployment.delete", c.askUndeploy},
		{post, "/deployments/{id}/undeploy", "deployment.delete", c.undeploy},

		{get, "/executions", "execution.read", c.executions},
		{get, "/executions/{id}", "execution.read", c.execution},
		{get, "/executions/{id}/cancel", "execution.cancel", c.askCancel},
		{post, "/executions/{id}/cancel", "execution.cancel", c.cancel},
		{get, "/executions/{id}/resubmit", "execution.resubmit", c.askResubmit},
		{post, "/executions/{id}/resubmit", "execution.resubmit", c.resubmit},
		{get, "/requests/{id}", "execution.read", c.request},
		{get, "/execute", "execution.create", c.executePage},
		{post, "/execute", "execution.create", c.execute},

		{get, "/join", "installtoken.create", c.joinPage},
		{post, "/join", "installtoken.create", c.join},
		{get, "/join/{id}", "installtoken.create", c.joined},
		{get, "/tokens", "token.read", c.tokens},
		{post, "/tokens", "token.create", c.createToken},
		{get, "/tokens/{id}/revoke", "token.delete", c.askRevokeToken},
		{post, "/tokens/{id}/revoke", "token.delete", c.revokeToken},
		{get, "/audit", "audit.read", c.audit},
		{get, "/accounts", "account.read", c.accounts},
		{post, "/accounts", "account.create", c.createAccount},
	}
}

// visit is a request with a session.
type visit struct {
	*http.Request
	p    cloud.Principal
	csrf string // token of this session's forms
}

// may reports whether to offer an action.
func (v *visit) may(a cloud.Action) bool { return v.p.May(a) }

// answer is a page, an image or a redirect.
type answer struct {
	to, done string // path of a redirect, and the key in done of the message shown there

	page   string // name of the template
	title  string
	data   any
	every  time.Duration // refresh interval; 0: never
	image  []byte        // an SVG document instead of a page; nil: none
	status int
}

func see(to, done string) (*answer, error) { return &answer{to: to, done: done}, nil }

// known authenticates the session and serves the route.
func (c *console) known(route route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secret := sessionSecret(r)
		p, err := c.Service.Accounts.Session(r.Context(), secret)
		if errors.Is(err, cloud.ErrUnavailable) {
			unavailable(w)
			return
		}
		if err != nil {
			c.stranger(w, r)
			return
		}
		p.From, _, _ = net.SplitHostPort(r.RemoteAddr)
		v := &visit{r, p, csrfOf(secret)}
		// Limited separately, so operators can get in while the API is flooded.
		if wait, ok := c.Service.Accounts.Admit("console " + p.TokenID); !ok {
			w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
			c.fail(w, v, &cloud.Error{Kind: cloud.ErrBusy, Text: "too many requests with this token; wait a few seconds and reload the page"})
			return
		}
		if r.Method == http.MethodPost {
			if err := c.genuine(w, v, route); err != nil {
				c.fail(w, v, err)
				return
			}
			defer c.fleets.forget(p.Account) // show the change at once
		}
		var a *answer
		if route.action != "" {
			err = p.Allow(route.action)
		}
		if err == nil {
			a, err = route.serve(v)
		}
		if err != nil {
			c.fail(w, v, err)
			return
		}
		c.show(w, v, a)
	})
}

// unavailable responds when sessions cannot be checked.
func unavailable(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "5")
	http.Error(w, "The control plane cannot reach its database. Check its log, then reload the page.", http.StatusServiceUnavailable)
}

// genuine checks that a form was sent from one of our pages in the same session.
// The browser reports the origin, and the form carries a token that only pages
// of this session contain.
func (c *console) genuine(w http.ResponseWriter, v *visit, route route) error {
	limit := int64(maxForm)
	if route.path == "/execute" {
		limit = maxDocument
	}
	v.Body = http.MaxBytesReader(w, v.Body, limit)
	if err := c.origin.Check(v.Request); err != nil {
		return &cloud.Error{Kind: cloud.ErrForbidden, Text: "the form was sent from another site; nothing was changed"}
	}
	if err := v.ParseForm(); err != nil {
		return &cloud.InvalidError{Message: "cannot parse the form: " + err.Error()}
	}
	if !equal(v.PostForm.Get("csrf"), v.csrf) {
		return &cloud.Error{Kind: cloud.ErrForbidden, Text: "the form does not belong to your session; nothing was changed: reload the page"}
	}
	return nil
}

// backOf returns the path of the page that held the form, or "" if it is
// unknown.
func backOf(r *http.Request) string {
	from, err := url.Parse(r.Referer())
	if err != nil || r.Method != http.MethodPost || from.Host != r.Host {
		return ""
	}
	return localPath(from.RequestURI())
}

// fail shows an error to the user.
func (c *console) fail(w http.ResponseWriter, v *visit, err error) {
	status := http.StatusInternalServerError
	var invalid *cloud.InvalidError
	switch {
	case errors.As(err, &invalid):
		status = http.StatusBadRequest
	case errors.Is(err, cloud.ErrForbidden):
		status = http.StatusForbidden
	case errors.Is(err, cloud.ErrNotFound):
		status = http.StatusNotFound
	case errors.Is(err, cloud.ErrConflict):
		status = http.StatusConflict
	case errors.Is(err, cloud.ErrQuota):
		status = http.StatusTooManyRequests
	case errors.Is(err, cloud.ErrBusy), errors.Is(err, cloud.ErrUnavailable):
		status = http.StatusServiceUnavailable
		if w.Header().Get("Retry-After") == "" {
			w.Header().Set("Retry-After", "5")
		}
	case v.Context().Err() != nil:
		return // the client has gone
	default:
		c.Log.Error("cannot serve page", "method", v.Method, "path", v.URL.Path, "error", err)
	}
	c.show(w, v, &answer{page: "error", title: http.StatusText(status), status: status, data: map[string]string{"Text": capital(err.Error()), "Back": backOf(v.Request)}})
}
