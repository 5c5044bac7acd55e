package authn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
)

// Limits for an issuer's key set. The first request that needs the set fetches
// it, so an atom starts without the issuer. Later, an unreachable issuer does
// no harm while its keys stay the same.
const (
	keySetFresh    = 15 * time.Minute // age after which the set is fetched again
	keySetUnknown  = 30 * time.Second // minimum time between fetches caused by unknown keys
	keySetFailed   = 5 * time.Second  // minimum time between fetches after a failure
	keySetTimeout  = 10 * time.Second
	keySetSize     = 1 << 20
	keySetRedirect = 3
)

type keySet struct {
	url    string
	client *http.Client

	fetching sync.Mutex // held by the request that fetches

	mu      sync.Mutex
	known   keyfunc.Keyfunc // nil until the first successful fetch
	tried   time.Time
	fetched time.Time
}

func newKeySet(s *settings) *keySet {
	k := &keySet{url: s.text("jwks")}
	u, err := url.Parse(k.url)
	if err != nil || u.Host == "" || !secure(u) {
		s.problem("jwks: must be an https URL (http is allowed for this machine only)")
	}
	if err == nil {
		s.refused = s.policy.CheckURL(u)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	s.policy.Guard(transport, net.Dialer{Timeout: keySetTimeout})
	transport.MaxIdleConnsPerHost = 1
	transport.IdleConnTimeout = time.Second
	k.client = &http.Client{Timeout: keySetTimeout, Transport: transport, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if len(via) >= keySetRedirect || !secure(r.URL) {
			return errors.New("redirect not followed")
		}
		return nil
	}}
	return k
}

func secure(u *url.URL) bool {
	if u.Scheme == "https" {
		return true
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
}

func (k *keySet) keys(r *http.Request, t *jwt.Token) (any, error) {
	set, age := k.current()
	if set == nil || age >= keySetFresh {
		set = k.refresh(r.Context(), set != nil, keySetFailed)
	}
	if set == nil {
		return nil, ErrDenied
	}
	key, err := k.find(set, t)
	if err != nil {
		if set = k.refresh(r.Context(), false, keySetUnknown); set != nil {
			key, err = k.find(set, t)
		}
	}
	return key, err
}

func (k *keySet) find(set keyfunc.Keyfunc, t *jwt.Token) (any, error) {
	if _, named := t.Header["kid"].(string); named {
		key, err := set.Keyfunc(t)
		if err != nil || !fits(t.Method, key) {
			return nil, ErrDenied
		}
		return key, nil
	}
	all, err := set.VerificationKeySet(context.Background())
	if err != nil {
		return nil, ErrDenied
	}
	fitting := jwt.VerificationKeySet{}
	for _, key := range all.Keys {
		if fits(t.Method, key) && len(fitting.Keys) < maxSignatures {
			fitting.Keys = append(fitting.Keys, key)
		}
	}
	if len(fitting.Keys) == 0 {
		return nil, ErrDenied
	}
	return fitting, nil
}

func (k *keySet) current() (keyfunc.Keyfunc, time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.known, time.Since(k.fetched)
}

// refresh fetches the set unless that was tried within pause. If stale is set,
// a request uses the current set instead of waiting for another request's
// fetch.
func (k *keySet) refresh(ctx context.Context, stale bool, pause time.Duration) keyfunc.Keyfunc {
	if stale {
		if !k.fetching.TryLock() {
			set, _ := k.current()
			return set
		}
	} else {
		k.fetching.Lock()
	}
	defer k.fetching.Unlock()
	k.mu.Lock()
	set, wait := k.known, !k.tried.IsZero() && time.Since(k.tried) < pause
	if !wait {
		k.tried = time.Now()
	}
	k.mu.Unlock()
	if wait {
		return set
	}
	// Other requests wait for this fetch, so it must survive the cancellation
	// of this one.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keySetTimeout)
	defer cancel()
	fresh, err := k.fetch(ctx)
	if err != nil {
		return set
	}
	k.mu.Lock()
	k.known, k.fetched = fresh, time.Now()
	k.mu.Unlock()
	return fresh
}

func (k *keySet) fetch(ctx context.Context) (keyfunc.Keyfunc, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := k.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch key set: status %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, keySetSize+1))
	if err != nil {
		return nil, err
	}
	if len(body) > keySetSize {
		return nil, errors.New("fetch key set: too large")
	}
	return keyfunc.NewJWKSetJSON(body)
}
