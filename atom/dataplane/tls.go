package dataplane

import "crypto/tls"

// tlsConfig requests client certificates while a listener wants them. The
// listener's authentication verifies them.
func (s *Server) tlsConfig() *tls.Config {
	base := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: s.certificate.Get,
	}
	asking := base.Clone()
	asking.ClientAuth = tls.RequestClientCert
	base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		if s.wantsClientCert.Load() {
			return asking, nil
		}
		return nil, nil
	}
	return base
}
