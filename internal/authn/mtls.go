package authn

import (
	"crypto/x509"
	"net/http"
	"slices"
	"strings"
)

// mtls accepts only certificates of the configured authorities, regardless of
// the server's own handshake.
type mtls struct {
	roots    *x509.CertPool
	subjects []string
}

func newMTLS(s *settings) Authenticator {
	a := &mtls{roots: x509.NewCertPool(), subjects: s.texts("subject")}
	if ca := s.text("ca"); ca != "" && !a.roots.AppendCertsFromPEM([]byte(ca)) {
		s.problem("ca: must contain PEM certificates, such as ${env.PARTNER_CA}")
	}
	return a
}

func (a *mtls) Authenticate(r *http.Request, _ []byte) (string, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return "", ErrDenied
	}
	leaf := r.TLS.PeerCertificates[0]
	between := x509.NewCertPool()
	for _, c := range r.TLS.PeerCertificates[1:] {
		between.AddCert(c)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: a.roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return "", ErrDenied
	}
	name := leaf.Subject.String()
	if name == "" {
		return "", ErrDenied
	}
	if len(a.subjects) > 0 && !slices.ContainsFunc(a.subjects, func(want string) bool {
		return want == name || !strings.Contains(want, "=") && want == leaf.Subject.CommonName
	}) {
		return "", ErrDenied
	}
	return name, nil
}

func (a *mtls) Consumes() []string { return nil }
func (a *mtls) NeedsBody() bool    { return false }
