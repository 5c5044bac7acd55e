package listener

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
	"valence/processes"
)

const defaultBody = 10 << 20

// credentials are headers that no process sees and nothing stores, whatever
// the scheme of the listener.
var credentials = []string{"Authorization", "Proxy-Authorization", "Cookie"}

// endpoint is one deployed listener.
type endpoint struct {
	deployed *atom.Deployed
	process  string
	listen   *processes.Listen
	params   []string // names of the path's captures
	metrics  *metrics.ProcessMetrics
	shape    *convert.Shape // of XML bodies; nil: as they are
	body     int64          // the most that a body may hold, before and after decompression

	auth      authn.Authenticator // nil: it could not be made, so nobody is let in
	authName  string              // with that of its project; "" where nobody is asked
	scheme    string
	hidden    []string
	hideQuery string

	load *load
}

// load is what a listener's limits count. It outlives a deployment that does
// not change the limits.
type load struct {
	limits  processes.Limits
	rate    *rate.Limiter // nil: unlimited
	current atomic.Int64
}

func newLoad(l processes.Limits) *load {
	n := &load{limits: l}
	if l.Rate > 0 {
		// A second's worth may come at once, so that a rate below the timer's
		// resolution and a burst after a pause are served.
		n.rate = rate.NewLimiter(rate.Limit(l.Rate), max(1, int(math.Ceil(l.Rate))))
	}
	return n
}

// enter takes a place, or says how long to wait for one: status 429 over the
// rate, 503 over the concurrency. Whoever enters must leave.
func (l *load) enter(now time.Time) (status int, retry time.Duration) {
	if l.limits.Concurrency > 0 && l.current.Add(1) > int64(l.limits.Concurrency) {
		l.current.Add(-1)
		return 503, time.Second
	}
	if l.rate != nil {
		if !l.rate.AllowN(now, 1) {
			l.leave()
			missing := 1 - l.rate.TokensAt(now)
			return 429, time.Duration(missing / l.limits.Rate * float64(time.Second))
		}
	}
	return 0, 0
}

func (l *load) leave() {
	if l.limits.Concurrency > 0 {
		l.current.Add(-1)
	}
}

// Deploy puts the listeners of what is deployed in place of those before, at
// once for all. Requests under way finish as they began. A listener whose
// authentication cannot be set up lets nobody in.
func (s *Server) Deploy(deployed []*atom.Deployed) {
	s.deploy.Lock()
	defer s.deploy.Unlock()
	before := map[string]*load{}
	if t := s.table.Load(); t != nil {
		for _, e := range t.all {
			before[e.process] = e.load
		}
	}
	var endpoints []*endpoint
	certificates := false
	for _, d := range deployed {
		if d.Process.Listen == nil {
			continue
		}
		e := s.endpoint(d)
		if l := before[e.process]; l != nil && l.limits == e.listen.Limits {
			e.load = l
		}
		certificates = certificates || e.scheme == "mtls"
		endpoints = append(endpoints, e)
	}
	if certificates && s.cert == nil {
		s.log.Error("a listener asks for client certificates, but the data plane has no TLS: it lets nobody in")
	}
	t, conflicts := build(endpoints)
	for _, e := range conflicts {
		s.log.Error("two listeners have the same method and path; one is not served", "process", e.process, "path", e.listen.Path)
	}
	s.wantCert.Store(certificates)
	s.table.Store(t)
}

func (s *Server) endpoint(d *atom.Deployed) *endpoint {
	p := d.Process
	e := &endpoint{
		deployed: d, process: p.Name, listen: p.Listen, metrics: s.options.Metrics.Process(p.Name),
		body: p.Listen.Limits.Body, load: newLoad(p.Listen.Limits), scheme: "none",
	}
	if e.body <= 0 {
		e.body = defaultBody
	}
	if profile := p.Delivery.Profile; profile != nil {
		e.shape = profile.Shape
	}
	var settings map[string]any
	if d.Auth != nil && d.Auth.Scheme != "none" {
		e.authName, e.scheme, settings = qualified(d, d.Auth.Name), d.Auth.Scheme, d.AuthSettings
	}
	auth, err := authn.New(e.scheme, settings)
	if err != nil {
		s.log.Error("a listener lets nobody in: its authentication cannot be set up", "process", p.Name, "auth", e.authName, "error", err)
		return e
	}
	e.auth = auth
	for _, name := range append(auth.Consumes(), credentials...) {
		e.hidden = append(e.hidden, http.CanonicalHeaderKey(name))
	}
	if q, ok := auth.(authn.QueryConsumer); ok {
		e.hideQuery = q.ConsumesQuery()
	}
	return e
}

// qualified names a component of a process among those of all projects.
func qualified(d *atom.Deployed, name string) string {
	if d.Project() == "" {
		return name
	}
	return d.Project() + "/" + name
}

// principal names a caller among those of all auth components.
func (e *endpoint) principal(who string) string {
	if e.authName == "" {
		return ""
	}
	return e.authName + "/" + who
}

// speaksXML reports whether problem documents are XML here.
func (e *endpoint) speaksXML() bool {
	if e.listen.Output != "" {
		return e.listen.Output == "xml"
	}
	return e.listen.Input == "xml"
}
