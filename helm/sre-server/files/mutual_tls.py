"""What `helm test` runs: HOST PORT [FOLDER]; the folder has a client's tls.crt and tls.key, and the server's ca.crt."""

import http.client
import json
import ssl
import sys

host, port, *folder = sys.argv[1:]


def ask(context, path):
    connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


# The server is not authenticated here: this only shows that it lets nobody in without a certificate.
nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
nobody.check_hostname, nobody.verify_mode = False, ssl.CERT_NONE
try:
    status, _ = ask(nobody, "/readyz")
except ssl.SSLError as error:
    if "CERTIFICATE_REQUIRED" not in str(error):
        raise SystemExit(f"no certificate: refused, but for another reason: {error}")
    print("no certificate: refused, as it should be")
else:
    raise SystemExit(f"no certificate: let in, with {status}")

if folder:
    context = ssl.create_default_context(cafile=f"{folder[0]}/ca.crt")
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # Python 3.13 refuses certificates that other clients accept
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(f"{folder[0]}/tls.crt", f"{folder[0]}/tls.key")
    for path in ("/readyz", "/deployments"):
        status, answer = ask(context, path)
        print(f"GET {path}: {status}")
        if status != 200:
            raise SystemExit(f"GET {path}: {status} {answer}")
