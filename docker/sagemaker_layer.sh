#!/usr/bin/env bash
# Turn a Debian image with OpenMPI and sshd into what the SageMaker toolkits meet in a SageMaker image. Runs in the build.
set -euo pipefail

# Every host of a job runs this image, so a key pair made here, at build time, is one that all hosts share.
mkdir -p /var/run/sshd
ssh-keygen -A
mkdir -m 700 /root/.ssh
ssh-keygen -q -t rsa -N '' -f /root/.ssh/id_rsa
cp /root/.ssh/id_rsa.pub /root/.ssh/authorized_keys
echo 'StrictHostKeyChecking no' | tee -a /root/.ssh/config >>/etc/ssh/ssh_config
chmod 600 /root/.ssh/config /root/.ssh/authorized_keys
# Without an audit subsystem, as in a container, pam_loginuid would refuse every login.
sed -i 's/\(session *\)required\( *pam_loginuid.so\)/\1optional\2/' /etc/pam.d/sshd

# The toolkits call mpirun as root.
mv /usr/bin/mpirun /usr/bin/mpirun.real
printf '%s\n' '#!/bin/bash' 'mpirun.real --allow-run-as-root "$@"' >/usr/bin/mpirun
chmod +x /usr/bin/mpirun
# Debian's file ends without a newline.
printf '%s\n' '' 'hwloc_base_binding_policy = none' 'rmaps_base_mapping_policy = slot' >>/etc/openmpi/openmpi-mca-params.conf
echo NCCL_DEBUG=INFO >/etc/nccl.conf
