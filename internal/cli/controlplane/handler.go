package controlplane

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"valence/cloud"
	"valence/cloud/console"
	"valence/cloud/operator"
	"valence/cloud/platform"
	"valence/internal/sqlitedb"
	"valence/internal/version"
)

// handler routes all requests: atoms, APIs, console, metrics and health.
func (p *plane) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/atom/v1/", p.gate)
	// Browsers send stored basic credentials with cross-site requests, too.
	sameOrigin := http.NewCrossOriginProtection()
	mux.Handle(operator.Root, sameOrigin.Handler(operator.New(p.service, p.log)))
	mux.Handle("GET /metrics", p.requireToken(p.metrics.Handler()))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := p.service.Ready(); err != nil {
			reason := "the store does not accept writes"
			if errors.Is(err, sqlitedb.ErrDamaged) {
				reason = "the store is damaged"
			}
			http.Error(w, reason, http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	api := sameOrigin.Handler(platform.New(platform.Options{Service: p.service, Log: p.log}))
	mux.Handle("/", console.New(console.Options{Service: p.service, Version: version.String(), Log: p.log}))
	return withAccessLog(withDefaults(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if platform.Serves(r.URL.Path) { // before the mux, which redirects paths with doubled slashes
			api.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})), p.log, p.o.AccessLog)
}

// requireToken allows requests with an API token of the default account that is
// not limited to environments, because metrics cover all environments.
func (p *plane) requireToken(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if who, err := p.service.Accounts.Recognize(cloud.DefaultAccount, "", strings.TrimSpace(token)); err != nil || len(who.Environments) > 0 {
			w.Header().Set("WWW-Authenticate", `Bearer realm="valence cloud"`)
			http.Error(w, "Send an API token of the account "+cloud.DefaultAccount+", not limited to environments, as Authorization: Bearer …", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Time limits for requests and responses. The gate sets its own for atoms.
const (
	readTimeout  = 5 * time.Minute
	writeTimeout = 10 * time.Minute
)

// withDefaults sets time limits and security headers.
func withDefaults(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/atom/") {
			control := http.NewResponseController(w)
			_ = control.SetReadDeadline(time.Now().Add(readTimeout)) // supported by this server
			_ = control.SetWriteDeadline(time.Now().Add(writeTimeout))
		}
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		next.ServeHTTP(w, r)
	})
}
