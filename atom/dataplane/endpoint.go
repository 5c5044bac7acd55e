package dataplane

import (
	"math"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"valence/atom"
	"valence/internal/authn"
	"valence/internal/convert"
	"valence/internal/metrics"
	"valence/internal/share"
	"valence/processes"
)

const defaultMaxBody = 10 << 20

// credentials are headers that are never visible to processes and never stored,
// whatever the listener's authentication scheme.
var credentials = []string{"Authorization", "Proxy-Authorization", "Cookie"}

// endpoint is one deployed listener.
type endpoint struct {
	deployed *atom.DeployedProcess
	process  string
	listen   *processes.Listen
	params   []string // names of the path captures
	metrics  *metrics.ProcessMetrics
	shape    *convert.Shape // of XML bodies; nil: generic
	maxBody  int64          // limit in bytes, before and after decompression

	auth          authn.Authenticator // nil if it could not be set up: all requests are rejected
	authName      string              // qualified with the project; "" without authentication
	scheme        string
	hiddenHeaders []string
	hiddenQuery   string

	limiter *limiter
}

// limiter enforces the limits of a listener. It survives deployments that do
// not change the limits.
type limiter struct {
	limits  processes.Limits
	rate    *rate.Limiter // nil: unlimited
	inUse   atomic.Int64
	members func() int   // that share the limits
	shared  atomic.Int64 // by how many the rate is divided
}

func newLimiter(l processes.Limits, members func() int) *limiter {
	n := &limiter{limits: l, members: members}
	n.shared.Store(1)
	if l.Rate > 0 {
		// The burst is one second's worth, which allows rates below the timer's resolution and
		// catches up after a pause.
		n.rate = rate.NewLimiter(rate.Limit(l.Rate), max(1, int(math.Ceil(l.Rate))))
	}
	return n
}

// acquire reserves capacity for one request. Otherwise it returns 429 if the
// rate is exceeded or 503 if the concurrency is, and the time to wait. The
// caller must release what it acquired.
func (l *limiter) acquire(now time.Time) (status int, retry time.Duration) {
	members := l.members()
	if l.limits.Concurrency > 0 && l.inUse.Add(1) > int64(share.Of(l.limits.Concurrency, members)) {
		l.inUse.Add(-1)
		return 503, time.Second
	}
	if l.rate != nil {
		part := l.limits.Rate / float64(members)
		if l.shared.Swap(int64(members)) != int64(members) {
			l.rate.SetLimitAt(now, rate.Limit(part))
			l.rate.SetBurstAt(now, max(1, int(math.Ceil(part))))
		}
		if !l.rate.AllowN(now, 1) {
			l.release()
			missing := 1 - l.rate.TokensAt(now)
			return 429, time.Duration(missing / part * float64(time.Second))
		}
	}
	return 0, 0
}

func (l *limiter) release() {
	if l.limits.Concurrency > 0 {
		l.inUse.Add(-1)
	}
}

// Deploy atomically replaces all listeners. Requests in flight finish on the
// old ones. A listener whose authentication cannot be set up rejects all
// requests.
func (s *Server) Deploy(deployed []*atom.DeployedProcess) {
	s.deploy.Lock()
	defer s.deploy.Unlock()
	before, auths := map[string]*limiter{}, map[string]authn.Authenticator{}
	if t := s.routes.Load(); t != nil {
		for _, e := range t.endpoints {
			before[e.process] = e.limiter
			auths[e.authName] = e.auth
		}
	}
	var endpoints []*endpoint
	certificates := false
	for _, d := range deployed {
		if d.Process.Listen == nil {
			continue
		}
		e := s.newEndpoint(d)
		if l := before[e.process]; l != nil && l.limits == e.listen.Limits {
			e.limiter = l
		}
		authn.Inherit(e.auth, auths[e.authName])
		auths[e.authName] = e.auth
		certificates = certificates || e.scheme == "mtls"
		endpoints = append(endpoints, e)
	}
	if certificates && s.certificate == nil {
		s.log.Error("listener rejects all requests: it requires client certificates, but TLS is off")
	}
	t, conflicts := newRouteTable(endpoints)
	for _, e := range conflicts {
		s.log.Error("listeners have the same method and path; one is not served", "process", e.process, "path", e.listen.Path)
	}
	s.wantsClientCert.Store(certificates)
	s.routes.Store(t)
}

func (s *Server) newEndpoint(d *atom.DeployedProcess) *endpoint {
	p := d.Process
	e := &endpoint{
		deployed: d, process: p.Name, listen: p.Listen, metrics: s.options.Metrics.Process(p.Name),
		maxBody: p.Listen.Limits.Body, limiter: newLimiter(p.Listen.Limits, s.options.Atom.Members), scheme: "none",
	}
	e.metrics.DeclareRequests()
	if e.maxBody <= 0 {
		e.maxBody = defaultMaxBody
	}
	if profile := p.Delivery.Profile; profile != nil {
		e.shape = profile.Shape
	}
	var settings map[string]any
	if d.Auth != nil && d.Auth.Scheme != "none" {
		e.authName, e.scheme, settings = qualified(d, d.Auth.Name), d.Auth.Scheme, d.AuthSettings
	}
	auth, err := authn.New(e.scheme, settings, d.Policy())
	if err != nil {
		s.log.Error("listener rejects all requests: cannot set up its authentication", "process", p.Name, "auth", e.authName, "error", err)
		return e
	}
	e.auth = auth
	for _, name := range append(auth.Consumes(), credentials...) {
		e.hiddenHeaders = append(e.hiddenHeaders, http.CanonicalHeaderKey(name))
	}
	if q, ok := auth.(authn.QueryConsumer); ok {
		e.hiddenQuery = q.ConsumesQuery()
	}
	return e
}

// qualified returns the name of a component prefixed with the project of d.
func qualified(d *atom.DeployedProcess, name string) string {
	if d.Project() == "" {
		return name
	}
	return d.Project() + "/" + name
}

// principal returns the name of a caller, unique across all authentication
// components.
func (e *endpoint) principal(who string) string {
	if e.authName == "" {
		return ""
	}
	return e.authName + "/" + who
}

// speaksXML reports whether problem documents of this listener are XML.
func (e *endpoint) speaksXML() bool {
	if e.listen.Output != "" {
		return e.listen.Output == "xml"
	}
	return e.listen.Input == "xml"
}
