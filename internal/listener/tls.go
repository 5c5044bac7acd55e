package listener

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Certificate names the files of the server's certificate chain and its key,
// both PEM.
type Certificate struct{ Cert, Key string }

// reloader gives the certificate that is in the files now. It looks at them
// when a connection is made, at most once a second, and keeps the last good
// one while the files are wrong.
type reloader struct {
	files Certificate
	log   *slog.Logger

	mu     sync.Mutex
	loaded *tls.Certificate
	looked time.Time
	state  [2]fileState // of what was loaded or found wrong last
}

type fileState struct {
	changed time.Time
	size    int64
}

const lookEvery = time.Second

// Reloading gives what tls.Config.GetCertificate takes: the certificate that is
// in the files when a connection is made. It fails where there is none now.
func Reloading(files Certificate, log *slog.Logger) (func(*tls.ClientHelloInfo) (*tls.Certificate, error), error) {
	r := &reloader{files: files, log: log}
	if _, err := r.current(); err != nil {
		return nil, err
	}
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return r.current() }, nil
}

func (r *reloader) current() (*tls.Certificate, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.loaded != nil && time.Since(r.looked) < lookEvery {
		return r.loaded, nil
	}
	r.looked = time.Now()
	state, err := r.stat()
	if err == nil && r.loaded != nil && state == r.state {
		return r.loaded, nil
	}
	if err == nil {
		var fresh tls.Certificate
		if fresh, err = tls.LoadX509KeyPair(r.files.Cert, r.files.Key); err == nil {
			if r.loaded != nil {
				r.log.Info("the certificate was replaced", "file", r.files.Cert)
			}
			r.loaded = &fresh
		}
	}
	if err != nil {
		if r.loaded == nil {
			return nil, err
		}
		if state != r.state {
			r.log.Error("the certificate files are wrong; the last good one is used", "file", r.files.Cert, "error", err)
		}
	}
	r.state = state
	return r.loaded, nil
}

func (r *reloader) stat() (state [2]fileState, err error) {
	for i, name := range []string{r.files.Cert, r.files.Key} {
		info, err := os.Stat(name)
		if err != nil {
			return [2]fileState{}, fmt.Errorf("look at the certificate files: %w", err)
		}
		state[i] = fileState{info.ModTime(), info.Size()}
	}
	return state, nil
}

// tlsConfig asks clients for a certificate while a listener wants one. Which
// one is good is for the listener's authentication to say.
func (s *Server) tlsConfig() *tls.Config {
	base := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.cert.current() },
	}
	asking := base.Clone()
	asking.ClientAuth = tls.RequestClientCert
	base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		if s.wantCert.Load() {
			return asking, nil
		}
		return nil, nil
	}
	return base
}
