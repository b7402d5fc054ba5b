// Command handler answers every request with the same bytes, by net/http over mutual TLS 1.3: what a server in Go costs
// when nothing is done.
//
// Once it listens it says where.
package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"os"
)

func main() {
	certificate := flag.String("cert", "", "PEM file with the server's certificate")
	key := flag.String("key", "", "PEM file with its key")
	ca := flag.String("ca", "", "PEM file with the CAs of clients")
	answer := flag.String("answer", "", "file with an answer as a server once sent it, head and body")
	flag.Parse()

	policy, err := serverTLS(*certificate, *key, *ca)
	if err != nil {
		log.Fatal(err)
	}
	handler, err := canned(*answer)
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("listening on %d", listener.Addr().(*net.TCPAddr).Port)
	server := http.Server{Handler: handler}
	log.Fatal(server.Serve(tls.NewListener(listener, policy)))
}

func serverTLS(certificate, key, ca string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	clients := x509.NewCertPool()
	if !clients.AppendCertsFromPEM(pem) {
		return nil, errors.New(ca + " holds no certificate")
	}
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{pair},
		ClientAuth:             tls.RequireAndVerifyClientCert,
		ClientCAs:              clients,
		SessionTicketsDisabled: true,
	}, nil
}

// canned returns a handler that sends the fields and the body of an answer; net/http writes the head in its own way.
func canned(file string) (http.Handler, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	answer, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), nil)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fields := w.Header()
		for name, values := range answer.Header {
			fields[name] = values
		}
		w.WriteHeader(answer.StatusCode)
		w.Write(body)
	}), nil
}
